"""Buffers the part of a recording that later steps still need."""

import numpy as np
from numpy.typing import NDArray


class AudioBuffer:
    """A queue of samples or other numbers: append at the end, drop from the start."""

    def __init__(self) -> None:
        self._blocks: list[NDArray[np.float32]] = []
        self._first = 0
        """Position of the first buffered block in the recording, in samples."""
        self.end = 0
        """Number of samples added so far."""

    def add(self, samples: NDArray[np.float32]) -> None:
        """Add `samples`, shape (samples,)."""
        self._blocks.append(samples)
        self.end += len(samples)

    def read(self, start: int, end: int) -> NDArray[np.float32]:
        """The samples from `start` up to `end` (exclusive) that are in the buffer."""
        parts: list[NDArray[np.float32]] = []
        at = self._first
        for block in self._blocks:
            parts.append(block[max(0, start - at) : max(0, end - at)])
            at += len(block)
        return np.concatenate([*parts, np.zeros(0, np.float32)])

    def forget(self, before: int) -> None:
        """Drop all whole blocks that end before the sample `before`."""
        while self._blocks and self._first + len(self._blocks[0]) <= before:
            self._first += len(self._blocks.pop(0))
