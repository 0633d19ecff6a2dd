"""Events of a live conversation, in chronological order. Times are seconds from its start;
utterances are numbered from 1."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vibevoice_light.moonshine import Token
from vibevoice_light.segments import Segment


@dataclass(frozen=True, slots=True)
class Started:
    """An utterance started. Not sent when the client commits utterances."""

    utterance: int
    start: float


@dataclass(frozen=True, slots=True)
class NewWords:
    """Final words of an utterance in progress."""

    utterance: int
    text: str
    """To be appended to the previous words after a space."""


@dataclass(frozen=True, slots=True)
class Said:
    """A segment of an utterance."""

    utterance: int
    segment: Segment


@dataclass(frozen=True, slots=True)
class Stopped:
    """The audio of an utterance is complete. Its last words may follow."""

    utterance: int
    start: float
    end: float
    is_detected: bool
    """Whether silence ended the utterance, rather than `commit`."""


@dataclass(frozen=True, slots=True)
class Ended:
    """All events of the utterance were sent."""

    utterance: int


LiveEvent = Started | NewWords | Said | Stopped | Ended
_EVENTS = {kind.__name__: kind for kind in (Started, NewWords, Said, Stopped, Ended)}


def to_fields(event: LiveEvent) -> dict[str, Any]:
    """Convert `event` to the fields of a message."""
    return {"event": type(event).__name__, "fields": asdict(event)}


def from_fields(fields: Mapping[str, Any]) -> LiveEvent:
    """Convert the fields of a message to an event."""
    values = dict(fields["fields"])
    if segment := values.get("segment"):
        tokens = tuple(Token(*token) for token in segment["tokens"])
        values["segment"] = Segment(**{**segment, "tokens": tokens})
    return _EVENTS[fields["event"]](**values)
