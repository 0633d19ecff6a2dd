"""The speech worker: python -m vibevoice_tts.worker CONFIG, where CONFIG is a ModelConfig as JSON.

`vibevoice_tts.process` starts it. It reads commands from its standard input and writes audio to its
standard output (see `protocol`); it exits when its input ends. Anything that a library prints goes
to standard error.
"""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import BinaryIO

from vibevoice_core.distribution import missing_package, pip_install
from vibevoice_core.messages import Message, write_message
from vibevoice_core.worker_pipe import open_pipe, read_commands
from vibevoice_tts.models import ModelConfig, ModelUnusable, WeightsMissing
from vibevoice_tts.protocol import ModelInfo, event_message, failure_message, request_of
from vibevoice_tts.speech_model import (
    Chunk,
    End,
    Event,
    SpeechError,
    SpeechModel,
    SpeechRequest,
    Turn,
)

WARM_UP_STEPS = 8
"""Steps of the warm-up before the first request: enough to run every part of a model once."""

logger = logging.getLogger(__name__)


def main() -> None:
    """Serve until the input ends or the model fails (exit status 1)."""
    pipe = open_pipe()
    try:
        model = load_model(ModelConfig(**json.loads(sys.argv[1])))
        _warm_up(model)
        Worker(model, pipe).run()
    except BrokenPipeError:
        return
    except ModelUnusable as error:
        write_message(pipe, Message("broken", {"message": str(error), "unusable": True}))
        sys.exit(1)
    except Exception as error:
        logger.exception("the speech model failed")
        write_message(pipe, Message("broken", {"message": _cause(error)}))
        sys.exit(1)


def load_model(config: ModelConfig) -> SpeechModel:
    """Load a model. The models' libraries are imported only here.

    Raises:
        WeightsMissing: its folder no longer exists.
        ModelUnusable: a package that it needs is not installed.
        vibevoice_tts.engines.loading.CheckpointError: the folder does not contain the model.
        vibevoice_tts.engines.device.DeviceUnavailable: the configured device cannot be used.
    """
    card = config.card
    if card.folder and not Path(config.folder).is_dir():
        raise WeightsMissing(f"The folder {Path(config.folder).name} does not exist.")
    module, _, name = card.engine.partition(":")
    try:
        model_class: type[SpeechModel] = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if package := missing_package(error):
            needed = f"{card.name} needs the Python package {package}: {pip_install('tts')}"
            raise ModelUnusable(needed) from error
        raise
    return model_class.load(config)


class Worker:
    """Drives a model; requests join and leave between its steps."""

    def __init__(self, model: SpeechModel, pipe: BinaryIO) -> None:
        self._model = model
        self._pipe = pipe
        self._commands: SimpleQueue[Message] = SimpleQueue()
        self._ids: dict[int, int] = {}
        """Handle of each request in flight → its id on the pipe."""
        self._joined: dict[int, float] = {}
        """Id of each request in flight → when it joined (monotonic)."""

    def run(self) -> None:
        """Serve forever; raises whatever the model raises."""
        read_commands(self._commands)
        write_message(self._pipe, Message("ready", asdict(_describe(self._model))))
        while True:
            self.turn(self._wait())

    def turn(self, commands: Sequence[Message]) -> None:
        """Execute commands, then run one step of the model."""
        for command in commands:
            number = command.fields["id"]
            if command.kind == "speak":
                self._join(number, request_of(command))
                write_message(self._pipe, Message("beat"))  # cloning a voice may take seconds
            elif command.kind == "cancel":
                self._cancel(number)
        events = self._model.step()
        for event in events:
            self._report(event)
        if not any(isinstance(event, Chunk) for event in events):
            write_message(self._pipe, Message("beat"))

    def _wait(self) -> list[Message]:
        """The commands received so far; waits for one if no request is in flight."""
        commands = [] if self._ids else [self._commands.get()]
        while True:
            try:
                commands.append(self._commands.get_nowait())
            except Empty:
                return commands

    def _join(self, number: int, request: SpeechRequest) -> None:
        joined = monotonic()
        try:
            self._ids[self._model.join(request)] = number
            self._joined[number] = joined
        except SpeechError as error:
            write_message(self._pipe, failure_message(number, error))

    def _cancel(self, number: int) -> None:
        for handle, other in self._ids.items():
            if other == number:
                self._model.leave(handle)
                self._forget(handle)
                return

    def _forget(self, handle: int) -> float:
        """Drop a request that has left, and return the seconds since it joined."""
        return monotonic() - self._joined.pop(self._ids.pop(handle))

    def _report(self, event: Event) -> None:
        number = self._ids[event.handle]
        if isinstance(event, End):
            event = replace(event, seconds=self._forget(event.handle))
        write_message(self._pipe, event_message(number, event))


def _cause(error: Exception) -> str:
    # Recognize torch's OutOfMemoryError by its name: this module does not import torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory"
    return "an internal error"


def _warm_up(model: SpeechModel) -> None:
    """Run the model once so that everything is loaded and compiled before the first request."""
    handle = model.join(SpeechRequest((Turn("Hello there, this is a test of the voice."),)))
    for _ in range(WARM_UP_STEPS):
        if any(isinstance(event, End) for event in model.step()):
            return
    model.leave(handle)


def _describe(model: SpeechModel) -> ModelInfo:
    return ModelInfo(
        model.sample_rate,
        model.voices(),
        {name: model.find_voice(name) for name in ("", *model.card.voice_aliases)},
    )


if __name__ == "__main__":
    main()
