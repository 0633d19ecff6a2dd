"""Live recognition: words while people speak. The interface between the transcription wing and the
realtime wing.

Times are seconds from the start of the audio. A turn is the speech between two silences, or between
two commits of the client; turns are numbered from 1. Each turn has these events: SpeechStarted
(only with voice activity detection); any number of NewWords and LiveSegments, with one
TurnCommitted among them; finally TurnEnded or TurnFailed. The next turn may start before the last
event of this one.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vibevoice_light import Detection
from vibevoice_proxy.errors import ProxyError


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """Options of a live conversation."""

    model: str = ""
    """Empty means the default model."""
    possible_languages: Sequence[str] = ()
    """The languages that the client expects; empty for any."""
    info: str = ""
    """Context for the model besides the audio."""
    detection: Detection | None = None
    """Parameters of voice activity detection; None if the client commits turns."""
    interval: float = 0.5
    """Seconds of new speech after which a recognizer decodes the open turn again, if it supports
    that."""

    @property
    def is_streamed(self) -> bool:
        """Segments are sent as they are recognized."""
        return True


class TokenUsage(NamedTuple):
    """Token counts of one turn, as reported by the engine."""

    input_tokens: int
    output_tokens: int
    audio_tokens: int


class LiveToken(NamedTuple):
    """A part of a text, with the model's confidence in it."""

    text: str
    logprob: float


class MissingPart(NamedTuple):
    """A part of a turn without a transcript, and the reason (`docs/reference/api.md`)."""

    start: float
    end: float
    reason: str


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech was detected; the turn's audio starts at `start`."""

    turn: int
    start: float


@dataclass(frozen=True, slots=True)
class NewWords:
    """Final words of a turn. Append them to the previous text; they include the space."""

    turn: int
    text: str


@dataclass(frozen=True, slots=True)
class LiveSegment:
    """A segment of one speaker. Labels identify speakers throughout the conversation."""

    turn: int
    start: float
    end: float
    speaker: str
    text: str
    tokens: Sequence[LiveToken] = ()


@dataclass(frozen=True, slots=True)
class TurnCommitted:
    """The audio of a turn is complete."""

    turn: int
    start: float
    end: float
    is_detected: bool
    """Whether silence ended the turn, rather than the client."""


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """All results of a turn were sent."""

    turn: int
    text: str
    """The final text of the turn. It may differ from NewWords where later audio made words
    clearer."""
    seconds: float
    """Length of the turn's audio, in seconds."""
    heard_until: float
    """End of the last speech in the turn, in seconds."""
    usage: TokenUsage | None = None
    missing: Sequence[MissingPart] = ()


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """A turn could not be transcribed."""

    turn: int
    error: ProxyError


@dataclass(frozen=True, slots=True)
class Cleared:
    """Uncommitted audio and the open turn were discarded."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Some audio outside of turns was lost."""

    error: ProxyError


LiveEvent = (
    SpeechStarted
    | NewWords
    | LiveSegment
    | TurnCommitted
    | TurnEnded
    | TurnFailed
    | Cleared
    | Interrupted
)


class LiveStream(Protocol):
    """One conversation. Call `feed`, `commit`, `clear`, `update` and `catch_up` from one task."""

    async def feed(self, samples: NDArray[np.int16]) -> None:
        """Add `samples`, shape (samples,), mono, 24 kHz. Waits while too much earlier audio is
        unprocessed."""
        ...

    async def commit(self) -> None:
        """End the open turn; without one, all audio since the last turn becomes a turn."""
        ...

    async def clear(self) -> None:
        """Discard the open turn and all audio since the last one."""
        ...

    async def update(self, options: LiveOptions) -> None:
        """Change the options, except for the model."""
        ...

    async def catch_up(self) -> None:
        """Wait until all audio is processed, all committed turns have ended, and their events were
        read."""
        ...

    def events(self) -> AsyncGenerator[LiveEvent]:
        """Yield the events of the conversation, indefinitely. Iterate once and continuously:
        recognition pauses while nothing reads. If a recognizer fails, its current turns are lost
        and the stream continues."""
        ...


class LiveRecognition(Protocol):
    """Opens live conversations."""

    def check(self, options: LiveOptions) -> str:
        """The name of the model that serves `options`. Raises ModelNotFound or InvalidRequest for
        unsupported options."""
        ...

    def open(
        self, options: LiveOptions, session_id: str
    ) -> AbstractAsyncContextManager[LiveStream]:
        """Open a conversation until the block ends. Raises the same errors as `check`."""
        ...
