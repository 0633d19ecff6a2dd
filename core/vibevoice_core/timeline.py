"""Positions decoded frames on the timeline of their container."""

from dataclasses import dataclass

TOLERANCE = 0.1
"""Seconds by which a time may differ from the end of the samples before it: containers round times,
and live recordings jitter. ffmpeg's `aresample` has the same tolerance (`min_hard_comp`)."""
RESET = 1.0
"""If a time goes back by at least this many seconds, the clock was restarted."""


@dataclass(frozen=True, slots=True)
class Span:
    """The time of a frame according to its container, and its length, both in seconds."""

    time: float | None
    """None if the container gives no time."""
    duration: float


class Timeline:
    """Finds the position at which each frame of a stream begins in the recording.

    A player starts at the earliest stream and fills gaps with silence. A forward jump is accepted
    if the next frame continues from there, unless it is beyond the end of the file, so a single
    damaged time has no effect. If the clock restarts (as in chained Ogg), the recording continues.
    """

    def __init__(self, origin: float, end: float | None) -> None:
        """`origin`: the container's time at which playback begins; `end`: the time at which the
        file says that it ends, or None if it does not say."""
        self._origin = origin
        self._end = end
        self._expected = origin
        self._tolerance = 0.0
        self._held: Span | None = None

    def feed(self, span: Span) -> list[float]:
        """Return the positions in seconds that are known after the frame of `span`: of this frame,
        of the previous one if it was held back, of both, or of neither."""
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
        """Return the position of the last frame if it was held back."""
        return self._settle(None) if self._held else []

    def _settle(self, following: Span | None) -> list[float]:
        """Decide the position of the frame held back, given the one that follows it."""
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
