"""Assigns a speaker to each window of a recording: clusters voices, then finds the best path.

Labels never change once assigned. Later windows are compared with the known speakers, and several
windows are labeled together, so upcoming speech influences the decision too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
        sums, lengths = _merge(vectors, seconds)
        kept = [total for total, length in zip(sums, lengths, strict=True) if length >= NEW_SECONDS]
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


def _merge(
    vectors: Sequence[Vectors], seconds: Sequence[float]
) -> tuple[list[Vectors], list[float]]:
    """Cluster `vectors`: repeatedly merge the two clusters with the most similar means while they
    are similar enough. Known speakers, which have infinite length, are never merged with each
    other."""
    if not vectors:
        return [], []
    sums = np.stack(vectors).astype(np.float64)
    lengths = np.array(seconds)
    known = np.isinf(lengths)
    alive = np.ones(len(sums), bool)

    def excess(rows: NDArray[np.int_]) -> NDArray[np.float64]:
        """How far the similarity of each of `rows` to each vector exceeds the merge threshold."""
        norms = np.linalg.norm(sums, axis=1)
        likeness = sums[rows] @ sums.T / np.outer(norms[rows], norms)
        likeness -= np.where(known[rows, None] | known, SAME_AS_KNOWN, SAME)
        likeness[
            (known[rows, None] & known) | ~alive | (rows[:, None] == np.arange(len(sums)))
        ] = -np.inf
        return likeness

    above = excess(np.arange(len(sums)))
    while True:
        first, second = sorted(np.unravel_index(above.argmax(), above.shape))
        if above[first, second] < 0:
            break
        sums[first] += sums[second]
        lengths[first] += lengths[second]
        known[first] = known[first] or known[second]
        alive[second] = False
        above[second], above[:, second] = -np.inf, -np.inf
        above[first] = above[:, first] = excess(np.array([first]))[0]
    kept = np.flatnonzero(alive)
    return [sums[index].astype(np.float32) for index in kept], lengths[kept].tolist()
