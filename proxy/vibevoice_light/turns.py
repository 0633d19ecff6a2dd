"""Joins labeled speech into turns: what one speaker says between pauses or other speakers."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

MAX_PAUSE_SECONDS = 0.8
"""A longer pause ends a turn."""
MAX_SECONDS = 12.0
"""A turn ends at the last pause before it would exceed this length. The word error rate for phone
prompts was 7.5 % in parts of up to 10 s and 8.1 % in parts of up to 30 s."""
MARGIN_SECONDS = 0.2
"""Maximum pause before and after a turn that its audio includes; never more than half of the
pause."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Speech of one speaker without a pause."""

    start: float
    """Seconds from the beginning of the recording."""
    end: float
    """Seconds."""
    speaker: int
    """Numbered in the order of appearance."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Consecutive stretches of one speaker."""

    start: float
    """Seconds from the beginning of the recording."""
    end: float
    """Seconds."""
    speaker: int
    """Numbered in the order of appearance."""
    audio_start: float
    """Start of the audio to recognize, in seconds; never inside another turn."""
    audio_end: float
    """End of that audio, in seconds."""


class Turns:
    """Joins the stretches of one recording into turns."""

    def __init__(self) -> None:
        self._open: Turn | None = None
        self._last_end = 0.0
        """End of the previous turn, in seconds."""

    @property
    def start(self) -> float | None:
        """Start of the open turn's audio, in seconds; None if no turn is open."""
        return self._open.audio_start if self._open else None

    @property
    def ending(self) -> Turn | None:
        """The open turn as it would end if at least twice MARGIN_SECONDS of silence followed; None
        if no turn is open."""
        turn = self._open
        return replace(turn, audio_end=turn.end + MARGIN_SECONDS) if turn else None

    def feed(self, stretches: Iterable[Stretch]) -> list[Turn]:
        """Add the next stretches and return the turns that they complete."""
        found: list[Turn] = []
        for stretch in stretches:
            turn = self._open
            if turn and _belongs(stretch, turn):
                self._open = replace(turn, end=stretch.end)
                continue
            found += self._close(stretch.start)
            margin = min(MARGIN_SECONDS, (stretch.start - self._last_end) / 2)
            start = stretch.start - margin
            self._open = Turn(stretch.start, stretch.end, stretch.speaker, start, stretch.end)
        return found

    def settle(self, until: float) -> list[Turn]:
        """The open turn, if it is complete because nobody speaks before `until` seconds."""
        if self._open and until - self._open.end > MAX_PAUSE_SECONDS:
            return self._close(until)
        return []

    def finish(self, end: float) -> list[Turn]:
        """The open turn, completed by the end of the recording at `end` seconds."""
        return self._close(end)

    def _close(self, next_start: float) -> list[Turn]:
        turn, self._open = self._open, None
        if not turn:
            return []
        self._last_end = turn.end
        margin = min(MARGIN_SECONDS, max(0.0, next_start - turn.end) / 2)
        return [replace(turn, audio_end=turn.end + margin)]


def _belongs(stretch: Stretch, turn: Turn) -> bool:
    """Whether `stretch` continues `turn`."""
    return (
        stretch.speaker == turn.speaker
        and stretch.start - turn.end <= MAX_PAUSE_SECONDS
        and stretch.end - turn.start <= MAX_SECONDS
    )
