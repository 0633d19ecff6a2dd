"""Runs a live conversation in a worker.

To the worker: `listen` (id, detection or null, first_speaker, interval), then `audio` (id; 16 kHz
samples), `update` (id, detection or null, interval), `commit` (id), `clear` (id). From the worker:
`event` (id, event, fields), `heard` (id, of: the completed command).
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from vibevoice_core.messages import Message
from vibevoice_light.live import LiveListener
from vibevoice_light.live_events import LiveEvent, to_fields
from vibevoice_light.recognizer import LightRecognizer
from vibevoice_light.utterances import Detection


class LiveRequest:
    """A conversation and its pending commands."""

    def __init__(self, listener: LiveListener) -> None:
        self._listener = listener
        self._commands: deque[Message] = deque()

    @classmethod
    def open(cls, recognizer: LightRecognizer, fields: Mapping[str, Any]) -> "LiveRequest":
        """Start the conversation that a `listen` message asks for."""
        detection = _detection(fields)
        return cls(recognizer.listen_live(detection, fields["first_speaker"], fields["interval"]))

    @property
    def has_work(self) -> bool:
        """Whether a command is waiting."""
        return bool(self._commands)

    @property
    def wants_preview(self) -> bool:
        """Whether the open turn should be decoded now."""
        return not self.has_work and self._listener.wants_preview

    def add(self, command: Message) -> None:
        """Queue a command."""
        self._commands.append(command)

    def preview(self) -> Iterator[Message]:
        """Decode the open turn and yield the resulting messages."""
        yield from map(_message, self._listener.preview())
        yield Message("heard", {"of": "preview"})

    def step(self) -> Iterator[Message]:
        """Run the next command and yield the resulting messages."""
        command = self._commands.popleft()
        listener = self._listener
        match command.kind:
            case "audio":
                yield from map(_message, listener.feed(command.samples))
            case "update":
                detection, interval = _detection(command.fields), command.fields["interval"]
                yield from map(_message, listener.update(detection, interval))
            case "commit":
                yield from map(_message, listener.commit())
            case "clear":
                listener.clear()
            case kind:
                raise ValueError(f"unknown command {kind}")
        yield Message("heard", {"of": command.kind})


def _detection(fields: Mapping[str, Any]) -> Detection | None:
    found = fields["detection"]
    return None if found is None else Detection(**found)


def _message(event: LiveEvent) -> Message:
    return Message("event", to_fields(event))
