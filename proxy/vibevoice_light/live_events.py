"""What a live conversation brings, in the order in which it happens. Times are seconds from its
beginning, and utterances are numbered from 1 on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vibevoice_light.moonshine import Token
from vibevoice_light.segments import Segment


@dataclass(frozen=True, slots=True)
class Started:
    """Somebody speaks; not where the client decides."""

    utterance: int
    start: float


@dataclass(frozen=True, slots=True)
class NewWords:
    """Words of an utterance that goes on; never taken back."""

    utterance: int
    text: str
    """They follow those before after a space."""


@dataclass(frozen=True, slots=True)
class Said:
    """A segment of an utterance."""

    utterance: int
    segment: Segment


@dataclass(frozen=True, slots=True)
class Stopped:
    """The audio of an utterance is whole. Its last words may still come."""

    utterance: int
    start: float
    end: float
    is_detected: bool
    """Whether silence ended it; else `commit` did."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing of the utterance is still to come."""

    utterance: int


LiveEvent = Started | NewWords | Said | Stopped | Ended
_EVENTS = {kind.__name__: kind for kind in (Started, NewWords, Said, Stopped, Ended)}


def to_fields(event: LiveEvent) -> dict[str, Any]:
    """`event` as fields of a message."""
    return {"event": type(event).__name__, "fields": asdict(event)}


def from_fields(fields: Mapping[str, Any]) -> LiveEvent:
    """The other way."""
    values = dict(fields["fields"])
    if segment := values.get("segment"):
        tokens = tuple(Token(*token) for token in segment["tokens"])
        values["segment"] = Segment(**{**segment, "tokens": tokens})
    return _EVENTS[fields["event"]](**values)
