"""The worker process: python -m vibevoice_light.worker FOLDER, where FOLDER contains Moonshine's
files. With an empty FOLDER it only embeds voices.

`vibevoice_light.pool` starts it; it exits when its input ends. Live conversations take priority:
before any other step, each processes its pending audio for up to SLICE_SECONDS. The remaining time
alternates between previews of live turns and recordings: one preview, then one segment (or one
block of audio without a segment) of the next recording.

To the worker: `audio` (id, lookahead in the first one; 16 kHz samples), `finish` (id), `embed` (id;
a few seconds of 16 kHz samples), `cancel` (id). From the worker: `ready`, `segment` (id and
a Segment's fields), `heard` (id: a block of audio is done), `beat` (a sign of life), `end` (id;
after `embed` also `starts`, `ends` and the vectors as samples), `failure` (id,
message), `broken` (message: the worker exits). `live_request` documents the messages of live
conversations.
"""

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from vibevoice_core.messages import Message, write_message
from vibevoice_core.worker_pipe import open_pipe, read_commands
from vibevoice_light.live_request import LiveRequest
from vibevoice_light.models import SPEAKER_MODEL, VOICE_ACTIVITY_MODEL, ModelFilesMissing
from vibevoice_light.recognizer import LightRecognizer, Listener
from vibevoice_light.voiceprints import Voiceprints

BEAT_SECONDS = 5.0
"""Interval of `beat` messages while all requests in flight wait for their clients."""
SLICE_SECONDS = 0.25
"""Time slice of a live conversation that is behind because its client sends faster than real time.
Voice activity detection on 20 s of audio takes less."""

logger = logging.getLogger(__name__)


def main() -> None:
    """Serve until the input ends. Exits with status 1 if the models cannot be loaded."""
    pipe = open_pipe()
    try:
        for file in (VOICE_ACTIVITY_MODEL, SPEAKER_MODEL):
            if wrong := file.check():
                raise ModelFilesMissing(f"The package is damaged: {wrong}.")
        recognizer = LightRecognizer.load(Path(sys.argv[1])) if sys.argv[1] else None
        voiceprints = recognizer.voiceprints if recognizer else Voiceprints.load()
        Worker(recognizer, voiceprints, pipe).run()
    except BrokenPipeError:
        return
    except Exception as error:
        logger.exception("the light recognizer failed")
        message = str(error) if isinstance(error, ModelFilesMissing) else "an internal error"
        write_message(pipe, Message("broken", {"message": message}))
        sys.exit(1)


class Worker:
    """Shares one recognizer among the requests in flight."""

    def __init__(
        self, recognizer: LightRecognizer | None, voiceprints: Voiceprints, pipe: BinaryIO
    ) -> None:
        """`recognizer` is None if the worker only embeds voices."""
        self._recognizer = recognizer
        self._voiceprints = voiceprints
        self._pipe = pipe
        self._commands: SimpleQueue[Message] = SimpleQueue()
        self._requests: dict[int, _Request | _Piece | LiveRequest] = {}
        self._next_parts: Iterator[Callable[[], None]] = cycle((self._preview, self._recognize))

    def run(self) -> None:
        """Process commands forever."""
        read_commands(self._commands)
        write_message(self._pipe, Message("ready"))
        while True:
            for command in self._wait():
                self._take(command)
            self._catch_up()
            next(self._next_parts)()

    def _wait(self) -> list[Message]:
        """Return the received commands; wait for one if there is no other work."""
        is_busy = any(
            request.has_work or request.wants_preview for request in self._requests.values()
        )
        commands: list[Message] = []
        while not commands and not is_busy:
            try:
                wait = BEAT_SECONDS if self._requests else None
                commands.append(self._commands.get(timeout=wait))
            except Empty:
                write_message(self._pipe, Message("beat"))
        while True:
            try:
                commands.append(self._commands.get_nowait())
            except Empty:
                return commands

    def _take(self, command: Message) -> None:
        number = command.fields["id"]
        if command.kind == "cancel":
            self._requests.pop(number, None)
            return
        if command.kind == "embed":
            self._requests[number] = _Piece(self._voiceprints, command.samples)
            return
        if command.kind == "listen" and self._recognizer:
            self._requests[number] = LiveRequest.open(self._recognizer, command.fields)
            return
        if "lookahead" in command.fields and self._recognizer:
            listener = self._recognizer.listen(command.fields["lookahead"])
            self._requests[number] = _Request(listener)
        request = self._requests.get(number)
        if isinstance(request, _Request | LiveRequest):  # otherwise it has failed in the meantime
            request.add(command)

    def _catch_up(self) -> None:
        """Run the pending commands of all live conversations."""
        for number, request in list(self._requests.items()):
            if not isinstance(request, LiveRequest):
                continue
            end = monotonic() + SLICE_SECONDS
            while request.has_work and number in self._requests and monotonic() < end:
                self._report(number, request.step())

    def _preview(self) -> None:
        """Decode the open turn of the next live conversation that wants a preview."""
        for number, request in self._requests.items():
            if isinstance(request, LiveRequest) and request.wants_preview:
                self._put_last(number)
                self._report(number, request.preview())
                return

    def _recognize(self) -> None:
        """Run one step of the next recording."""
        for number, request in self._requests.items():
            if not isinstance(request, LiveRequest) and request.has_work:
                self._put_last(number)
                self._report(number, request.step())
                return

    def _put_last(self, number: int) -> None:
        self._requests[number] = self._requests.pop(number)

    def _report(self, number: int, messages: Iterator[Message]) -> None:
        """Send each message of a request as soon as it is available."""
        for message in _or_failure(messages):
            if message.kind in ("end", "failure"):
                del self._requests[number]
            fields = {"id": number, **message.fields}
            write_message(self._pipe, Message(message.kind, fields, message.samples))


def _or_failure(messages: Iterator[Message]) -> Iterator[Message]:
    """Yield `messages`; on an exception, yield `failure`."""
    try:
        yield from messages
    except Exception:
        logger.exception("a recording could not be recognized")
        yield Message("failure", {"message": "an internal error"})


class _Request:
    """A recording and its pending commands."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._commands: deque[Message] = deque()
        self._results: Iterator[Message] = iter(())
        self.has_work = False
        self.wants_preview = False
        """Always false; only live conversations have previews."""

    def add(self, command: Message) -> None:
        """Queue `audio` or `finish`."""
        self._commands.append(command)
        self.has_work = True

    def step(self) -> Iterator[Message]:
        """Yield the next message."""
        while (message := next(self._results, None)) is None:
            self._results = self._work(self._commands.popleft())
        self.has_work = message.kind == "segment" or bool(self._commands)
        yield message

    def _work(self, command: Message) -> Iterator[Message]:
        if command.kind == "audio":
            segments, last = self._listener.feed(command.samples), "heard"
        else:
            segments, last = self._listener.finish(), "end"
        for segment in segments:
            yield Message("segment", asdict(segment))
        yield Message(last)


class _Piece:
    """A piece of a recording to embed."""

    has_work = True
    wants_preview = False

    def __init__(self, voiceprints: Voiceprints, samples: NDArray[np.float32]) -> None:
        self._voiceprints = voiceprints
        self._samples = samples

    def step(self) -> Iterator[Message]:
        """Embed the voices."""
        windows = self._voiceprints.find(self._samples)
        fields = {
            "starts": [window.start for window in windows],
            "ends": [window.end for window in windows],
        }
        vectors = [window.vector for window in windows]
        yield Message("end", fields, np.concatenate([np.zeros(0, np.float32), *vectors]))


if __name__ == "__main__":
    main()
