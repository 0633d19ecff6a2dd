"""Labeled speech → turns: what one speaker says between two pauses, or two speakers."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

MAX_PAUSE_SECONDS = 0.8
"""A longer pause ends a turn."""
MAX_SECONDS = 12.0
"""A turn ends at the pause before it would get longer than this. Telephone prompts had 7.5 % wrong
words in pieces of up to 10 s and 8.1 % in pieces of up to 30 s."""
MARGIN_SECONDS = 0.2
"""How much of the pauses around it belongs to a turn's audio, at most: half of each."""


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
    """Stretches of one speaker."""

    start: float
    """Seconds from the beginning of the recording."""
    end: float
    """Seconds."""
    speaker: int
    """Numbered in the order of appearance."""
    audio_start: float
    """Where the audio to be recognized begins, in seconds; never inside of another turn."""
    audio_end: float
    """Seconds."""


class Turns:
    """Joins the stretches of one recording."""

    def __init__(self) -> None:
        self._open: Turn | None = None
        self._last_end = 0.0
        """Of the turn before."""

    @property
    def start(self) -> float | None:
        """Where the turn's audio begins that is not whole yet; None where there is none."""
        return self._open.audio_start if self._open else None

    @property
    def ending(self) -> Turn | None:
        """The turn that is not whole yet, as it will be if at least twice MARGIN_SECONDS of silence
        follow; None where there is none."""
        turn = self._open
        return replace(turn, audio_end=turn.end + MARGIN_SECONDS) if turn else None

    def feed(self, stretches: Iterable[Stretch]) -> list[Turn]:
        """The turns that are whole with these stretches, which go on after those before."""
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
        """The turn that is whole since nobody speaks before `until` seconds."""
        if self._open and until - self._open.end > MAX_PAUSE_SECONDS:
            return self._close(until)
        return []

    def finish(self, end: float) -> list[Turn]:
        """The turn that the end of the recording, at `end` seconds, makes whole."""
        return self._close(end)

    def _close(self, next_start: float) -> list[Turn]:
        turn, self._open = self._open, None
        if not turn:
            return []
        self._last_end = turn.end
        margin = min(MARGIN_SECONDS, max(0.0, next_start - turn.end) / 2)
        return [replace(turn, audio_end=turn.end + margin)]


def _belongs(stretch: Stretch, turn: Turn) -> bool:
    """Whether `stretch` goes on with `turn`."""
    return (
        stretch.speaker == turn.speaker
        and stretch.start - turn.end <= MAX_PAUSE_SECONDS
        and stretch.end - turn.start <= MAX_SECONDS
    )
