"""Turns voice activity into islands of speech between pauses."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ONSET, OFFSET = 0.5, 0.35
"""Speech begins at the first probability and ends below the second (silero-vad,
`get_speech_timestamps`: threshold and threshold - 0.15)."""
PAUSE_FRAMES = 5
"""A pause is at least 160 ms; shorter ones occur within words."""
MIN_FRAMES = 5
"""Anything shorter than 160 ms is a click or a breath."""
MAX_FRAMES = 250
"""An island is cut after at most 8 s, so that its parts can be embedded and recognized."""
SEARCH_FRAMES = 94
"""The best point for that cut is searched for in the last 3 s."""


@dataclass(frozen=True, slots=True)
class Island:
    """Speech without a pause."""

    start: int
    """Its first frame in the recording."""
    end: int
    """The frame after its last one."""

    def __len__(self) -> int:
        return self.end - self.start


class Islands:
    """Finds the islands of one recording as its frames arrive."""

    def __init__(self) -> None:
        self._onset, self._offset = ONSET, OFFSET
        self._last_end = 0
        """For the previous island."""
        self._frame = 0
        self._start: int | None = None
        self._silent = 0
        self._held: list[float] = []
        """Probabilities since `_start`."""

    @property
    def settled(self) -> int:
        """No future island will include frames before this one."""
        return self._frame if self._start is None else self._start

    @property
    def frames(self) -> int:
        """Number of frames processed."""
        return self._frame

    @property
    def start(self) -> int | None:
        """First frame of the current island; None during a pause."""
        return self._start

    @property
    def speech_end(self) -> int:
        """The frame after the last speech frame."""
        return self._last_end if self._start is None else self._frame - self._silent

    def feed(self, probabilities: NDArray[np.float32]) -> list[Island]:
        """Add frames and return the islands that they complete."""
        found: list[Island] = []
        for probability in probabilities.tolist():
            found += self.step(probability)
        return found

    def step(self, probability: float) -> list[Island]:
        """Add one frame; see `feed`."""
        found = self._step(probability)
        self._frame += 1
        return found

    def listen_from(self, onset: float) -> None:
        """From now on, start speech at the probability `onset` and end it below `onset` - (ONSET -
        OFFSET)."""
        self._onset, self._offset = onset, max(0.01, onset - (ONSET - OFFSET))

    def finish(self) -> list[Island]:
        """End the recording; return the open island, if any."""
        return self._close(self._frame - self._silent)

    def _step(self, probability: float) -> list[Island]:
        if self._start is None:
            if probability >= self._onset:
                self._start, self._silent, self._held = self._frame, 0, [probability]
            return []
        self._held.append(probability)
        self._silent = self._silent + 1 if probability < self._offset else 0
        if self._silent == PAUSE_FRAMES:
            return self._close(self._frame + 1 - self._silent)
        return self._cut() if len(self._held) >= MAX_FRAMES else []

    def _cut(self) -> list[Island]:
        """End the island where speech is least likely."""
        assert self._start is not None
        first = len(self._held) - SEARCH_FRAMES
        tail = np.convolve(self._held[first:], np.ones(3) / 3, "same")[1:-1]
        length = first + 1 + int(tail.argmin())
        island = Island(self._start, self._start + length)
        self._start += length
        self._last_end = self._start
        self._held = self._held[length:]
        return [island]

    def _close(self, end: int) -> list[Island]:
        start, self._start = self._start, None
        if start is None or end - start < MIN_FRAMES:
            return []
        self._last_end = end
        return [Island(start, end)]
