"""Where decoded frames lie on the timeline of their container."""

from dataclasses import dataclass

TOLERANCE = 0.1
"""Seconds by which a time may differ from where the samples before end: containers round times, and
live recordings jitter. ffmpeg's `aresample` tolerates as much (`min_hard_comp`)."""
RESET = 1.0
"""Seconds backward from which on a time means that the clock began again."""


@dataclass(frozen=True, slots=True)
class Span:
    """The time of a frame as its container gives it, and its length, both in seconds."""

    time: float | None
    """None where the container gives no time."""
    duration: float


class Timeline:
    """Finds the position at which each frame of a stream begins in the recording.

    A player shows a recording from the earliest of its streams on, and what is missing as silence.
    A time that jumps ahead is believed when the next frame goes on from there, and not when it lies
    behind the end of the file: one damaged time moves nothing. Where the clock begins again (as in
    chained Ogg), the recording goes on.
    """

    def __init__(self, origin: float, end: float | None) -> None:
        """`origin`: the container's time at which a player begins; `end`: the time at which the
        file says it ends, None if it does not say."""
        self._origin = origin
        self._end = end
        self._expected = origin
        self._tolerance = 0.0
        self._held: Span | None = None

    def feed(self, span: Span) -> list[float]:
        """The positions in seconds that are known now that the frame of `span` has come: of this
        frame, of the one before that was held back, of both, or of none."""
        positions = self._settle(span) if self._held else []
        time = self._expected if span.time is None else span.time
        if time < self._expected - RESET:
            self._origin -= self._expected - time
            self._expected = time
        behind_end = self._end is not None and time > self._end + RESET
        if behind_end or time <= self._expected + self._tolerance:
            return [*positions, self._advance(self._expected, span)]
        self._held = span
        return positions

    def finish(self) -> list[float]:
        """The position of the last frame, if it was held back."""
        return self._settle(None) if self._held else []

    def _settle(self, following: Span | None) -> list[float]:
        """The position of the frame held back, judged by the one that follows it."""
        held, self._held = self._held, None
        assert held is not None and held.time is not None
        start = held.time
        if following is not None and following.time is not None:
            goes_on = abs(following.time - start - held.duration) <= TOLERANCE
            returns = abs(following.time - self._expected - held.duration) <= TOLERANCE
            if returns and not goes_on:
                start = self._expected
        return [self._advance(start, held)]

    def _advance(self, start: float, span: Span) -> float:
        self._expected = start + span.duration
        self._tolerance = TOLERANCE
        return start - self._origin
