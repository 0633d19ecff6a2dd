"""Live recognition: audio in as people speak, words out. What the transcription side offers and the
realtime side uses.

Times are seconds of the audio that was fed. A turn is what is said between two silences, or between
two commits of the client; turns are numbered from 1 on. For each turn come SpeechStarted (where the
audio tells), NewWords and Segments in any number, TurnCommitted among them, and at last TurnEnded
or TurnFailed. Events of the next turn may come before the last one of this one.
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
    """How a conversation is recognized."""

    model: str = ""
    """Empty means the default."""
    spoken_language: str | None = None
    """The language that the client named."""
    info: str = ""
    """What the model is told beside the audio."""
    detection: Detection | None = None
    """When the audio begins and ends a turn; None where the client commits them."""
    interval: float = 0.5
    """Seconds of new speech after which a recognizer that can looks for new words in a turn that
    goes on."""


class TokenUsage(NamedTuple):
    """Tokens of one turn, as the engine counted them."""

    input_tokens: int
    output_tokens: int
    audio_tokens: int


class LiveToken(NamedTuple):
    """A part of a text and how sure the model is of it."""

    text: str
    logprob: float


class MissingPart(NamedTuple):
    """A part of a turn whose words are not known, and why (`docs/reference/api.md`)."""

    start: float
    end: float
    reason: str


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Somebody speaks; the turn's audio begins at `start`."""

    turn: int
    start: float


@dataclass(frozen=True, slots=True)
class NewWords:
    """Words of a turn, never taken back. They continue the text so far, the space included."""

    turn: int
    text: str


@dataclass(frozen=True, slots=True)
class LiveSegment:
    """What one speaker said; the label is the same through the whole conversation."""

    turn: int
    start: float
    end: float
    speaker: str
    text: str
    tokens: Sequence[LiveToken] = ()


@dataclass(frozen=True, slots=True)
class TurnCommitted:
    """The audio of a turn is whole."""

    turn: int
    start: float
    end: float
    is_detected: bool
    """Whether a silence ended it; else the client did."""


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """Everything of a turn has come."""

    turn: int
    text: str
    """All its words: what to keep. NewWords may differ where later audio made them clearer."""
    seconds: float
    """Audio of the turn."""
    heard_until: float
    """Where its last speech ends."""
    usage: TokenUsage | None = None
    missing: Sequence[MissingPart] = ()


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """There is no transcript of a turn."""

    turn: int
    error: ProxyError


@dataclass(frozen=True, slots=True)
class Cleared:
    """The audio that was in no turn yet, and an open turn, are forgotten."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Some audio outside of turns was not heard."""

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
    """One conversation. `feed`, `commit`, `clear`, `update` and `catch_up` are called by one task,
    in order."""

    async def feed(self, samples: NDArray[np.int16]) -> None:
        """Go on with `samples`, shape (samples,), mono, 24 kHz. Waits while too much of what came
        before is not heard yet."""
        ...

    async def commit(self) -> None:
        """End the open turn, or a turn of everything since the last one."""
        ...

    async def clear(self) -> None:
        """Forget the open turn and everything since the last one."""
        ...

    async def update(self, options: LiveOptions) -> None:
        """Go on with other options; the model stays."""
        ...

    async def catch_up(self) -> None:
        """Wait until all that was fed is heard, all turns that are committed have ended, and their
        events were read."""
        ...

    def events(self) -> AsyncGenerator[LiveEvent]:
        """What happens, without end. To be read once and all the time: nothing is heard while it
        is not. A recognizer that fails costs the turns it was at, and the stream goes on."""
        ...


class LiveRecognition(Protocol):
    """What recognizes conversations."""

    def check(self, options: LiveOptions) -> str:
        """The own name of the model that serves `options`. Raises ModelNotFound or InvalidRequest
        for options that cannot be served."""
        ...

    def open(
        self, options: LiveOptions, session_id: str
    ) -> AbstractAsyncContextManager[LiveStream]:
        """A conversation, until the block ends. Raises as `check` does."""
        ...
