"""Assigns a speaker to each window of a recording: clusters voices, then finds the best path.

Labels never change once assigned. Later windows are compared with the known speakers, and several
windows are labeled together, so upcoming speech influences the decision too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vibevoice_light.clusters import cluster

Vectors = NDArray[np.float32]

SAME = 0.55
"""Two clusters whose mean vectors have at least this dot product are one speaker. Windows of one
voice have 0.59 (standard deviation 0.10), of two voices 0.09 (0.12); means are more similar than
windows."""
SAME_AS_KNOWN = 0.40
"""The threshold if one of the two clusters is a speaker who already has a label."""
CLUSTERED_SECONDS = 1.0
"""Shorter windows do not start clusters: their vectors are too imprecise."""
NEW_SECONDS = 4.5
"""Minimum total length of overlapping windows for a new speaker: about 2.5 s of continuous
speech."""
CHANGE = 0.1
"""Cost of a speaker change, as dot product per window."""


@dataclass(frozen=True, slots=True)
class Voice:
    """The voice embedding of a window."""

    vector: Vectors
    """Shape (192,), unit length."""
    seconds: float
    """Length of its window."""


class Speakers:
    """The speakers of one recording, numbered in the order in which they were first labeled."""

    def __init__(self) -> None:
        self._sums: list[Vectors] = []
        """Sum of the vectors of each speaker, weighted by seconds."""
        self._last: int | None = None

    def label(self, voices: Sequence[Voice], count: int) -> list[int]:
        """The speakers of the first `count` of `voices`, which continue where the previous call
        ended; the remaining voices are only used as context."""
        if not count:
            return []
        means = self._means(voices)
        path = self._path(voices, means)[:count]
        order = {number: number for number in range(len(self._sums))}
        for voice, number in zip(voices[:count], path, strict=True):
            if number not in order:
                order[number] = len(self._sums)
                self._sums.append(np.zeros_like(voice.vector))
            self._sums[order[number]] += voice.seconds * voice.vector
        labels = [order[number] for number in path]
        self._last = labels[-1]
        return labels

    def _means(self, voices: Sequence[Voice]) -> Vectors:
        """Mean vectors, shape (speakers, 192), unit length: known speakers first, then new ones."""
        clear = [voice for voice in voices if voice.seconds >= CLUSTERED_SECONDS]
        vectors = [*self._sums, *(voice.vector * voice.seconds for voice in clear)]
        seconds = [np.inf] * len(self._sums) + [voice.seconds for voice in clear]
        kept = [
            np.sum([vectors[index] for index in members], axis=0)
            for members in cluster(vectors, _least(len(self._sums), len(vectors)))
            if sum(seconds[index] for index in members) >= NEW_SECONDS
        ]
        if not kept:
            kept = [np.sum([voice.vector * voice.seconds for voice in voices], axis=0)]
        return np.stack([total / np.linalg.norm(total) for total in kept]).astype(np.float32)

    def _path(self, voices: Sequence[Voice], means: Vectors) -> list[int]:
        """The sequence of speakers with the highest total similarity minus the cost of changes."""
        count = len(means)
        likeness = np.stack([voice.vector for voice in voices]) @ means.T
        likeness *= np.minimum(1, [[voice.seconds] for voice in voices])
        scores = likeness[0].copy()
        if self._last is not None:
            scores[np.arange(count) != self._last] -= CHANGE
        back = np.zeros((len(voices), count), int)
        for at in range(1, len(voices)):
            best = int(scores.argmax())
            changed = scores[best] - CHANGE
            back[at] = np.where(scores >= changed, np.arange(count), best)
            scores = np.maximum(scores, changed) + likeness[at]
        path = [int(scores.argmax())]
        for at in range(len(voices) - 1, 0, -1):
            path.append(int(back[at, path[-1]]))
        return path[::-1]


def _least(known: int, count: int) -> NDArray[np.float64]:
    """Merge thresholds of `count` vectors, the first of which are `known` speakers. Known speakers
    are never merged with each other."""
    least = np.full((count, count), SAME)
    least[:known] = least[:, :known] = SAME_AS_KNOWN
    least[:known, :known] = np.inf
    return least
