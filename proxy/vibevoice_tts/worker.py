"""The process that speaks: python -m vibevoice_tts.worker MODEL.

It is started by `vibevoice_tts.process`, reads commands from its standard input and writes audio
to its standard output (see `protocol`); it ends when its input does. Whatever a library prints
goes to standard error.
"""

import json
import logging
import os
import signal
import sys
import threading
from dataclasses import asdict
from queue import Empty, SimpleQueue
from time import monotonic
from typing import BinaryIO

from vibevoice_tts import protocol
from vibevoice_tts.engine import (
    Chunk,
    End,
    Event,
    InvalidRequest,
    Prepared,
    SpeechEngine,
    SpeechError,
    SpeechRequest,
    Turn,
)
from vibevoice_tts.models import Model, load_engine
from vibevoice_tts.protocol import EngineInfo, Message

WARM_UP_STEPS = 8
"""Steps of the speech made before the first request: enough to run every part of a model once."""
OPENAI_VOICES = tuple(
    "alloy ash ballad cedar coral echo fable marin nova onyx sage shimmer verse".split()
)

logger = logging.getLogger(__name__)


def main() -> None:
    """Serve until the input ends or the engine breaks (exit status 1)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the proxy, which closes our input
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    try:
        engine = load_engine(Model(**json.loads(sys.argv[1])))
        _warm_up(engine)
        Worker(engine, pipe).run()
    except BrokenPipeError:
        return
    except Exception as error:
        logger.exception("the speech engine broke")
        _send(pipe, Message("broken", {"message": _cause(error)}))
        sys.exit(1)


class Worker:
    """Drives an engine: requests join and leave between two of its steps."""

    def __init__(self, engine: SpeechEngine, pipe: BinaryIO) -> None:
        self._engine = engine
        self._pipe = pipe
        self._commands: SimpleQueue[Message] = SimpleQueue()
        self._ids: dict[int, int] = {}
        """Handle of every request inside → its id on the pipe."""
        self._began: dict[int, float] = {}
        """Id of every request inside → when it came (monotonic)."""

    def run(self) -> None:
        """Serve for ever; whatever breaks the engine is raised."""
        threading.Thread(target=self._listen, daemon=True).start()
        _send(self._pipe, Message("ready", asdict(_describe(self._engine))))
        while True:
            self.turn()

    def turn(self) -> None:
        """Carry out the commands that have come, and one step of the engine."""
        self._obey()
        events = self._engine.step()
        for event in events:
            self._report(event)
        if not any(isinstance(event, Chunk) for event in events):
            _send(self._pipe, Message("beat"))

    def _listen(self) -> None:
        try:
            while (message := protocol.read(sys.stdin.buffer)) is not None:
                self._commands.put(message)
        except Exception:
            logger.exception("what comes from the proxy is no message")
            os._exit(1)
        os._exit(0)  # the proxy is gone: nobody wants what is being made

    def _obey(self) -> None:
        """Carry out the commands that have come; wait for one while there is nothing to do."""
        while True:
            try:
                message = self._commands.get(block=not self._ids)
            except Empty:
                return
            number = message.fields["id"]
            if message.kind == "speak":
                self._join(number, protocol.request_of(message))
                _send(self._pipe, Message("beat"))  # a join may take seconds: of a cloned voice
            elif message.kind == "cancel":
                self._cancel(number)

    def _join(self, number: int, request: SpeechRequest) -> None:
        began = monotonic()
        try:
            self._ids[self._engine.join(request)] = number
            self._began[number] = began
        except SpeechError as error:
            _send(self._pipe, _failure(number, error))

    def _cancel(self, number: int) -> None:
        for handle, inside in self._ids.items():
            if inside == number:
                self._engine.leave(handle)
                self._forget(handle)
                return

    def _forget(self, handle: int) -> float:
        """A request has left; the seconds that it was inside."""
        return monotonic() - self._began.pop(self._ids.pop(handle))

    def _report(self, event: Event) -> None:
        number = self._ids[event.handle]
        match event:
            case Prepared(_, found, computed, seconds):
                fields = {"found": found, "computed": computed, "seconds": seconds}
                _send(self._pipe, Message("prepared", {"id": number, **fields}))
            case Chunk(_, samples):
                _send(self._pipe, Message("chunk", {"id": number}, samples))
            case End(handle, reason):
                seconds = self._forget(handle)
                fields = {"id": number, "reason": reason, "seconds": seconds}
                _send(self._pipe, Message("end", fields))


def _send(pipe: BinaryIO, message: Message) -> None:
    data = memoryview(message.encode())
    while data:
        data = data[pipe.write(data) :]


def _failure(number: int, error: SpeechError) -> Message:
    kind = "invalid" if isinstance(error, InvalidRequest) else "failed"
    return Message("failure", {"id": number, "error": kind, "message": str(error)})


def _cause(error: Exception) -> str:
    # torch's OutOfMemoryError is told by its name: this module runs without torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory"
    return "an internal error"


def _warm_up(engine: SpeechEngine) -> None:
    """Run the engine once, so that its first request finds everything loaded and compiled."""
    handle = engine.join(SpeechRequest((Turn("Hello there, this is a test of the voice."),)))
    for _ in range(WARM_UP_STEPS):
        if any(isinstance(event, End) for event in engine.step()):
            return
    engine.leave(handle)


def _describe(engine: SpeechEngine) -> EngineInfo:
    return EngineInfo(
        engine.name,
        engine.sample_rate,
        engine.max_speakers,
        engine.voices(),
        {name: engine.find_voice(name) for name in ("", *OPENAI_VOICES)},
    )


if __name__ == "__main__":
    main()
