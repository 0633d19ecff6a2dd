"""Vectors of voices → clusters, each of them one person."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def cluster(vectors: Sequence[NDArray[np.float32]], least: NDArray[np.float64]) -> list[list[int]]:
    """The clusters of `vectors`, as indices into it, in the order of their first members.

    The two clusters whose sums point most alike become one, for as long as the dot product of their
    directions reaches what it takes.

    Args:
        vectors: each of shape (dimensions,); its length is its weight.
        least: shape (vectors, vectors), symmetric: the least dot product that it takes to join two.
            Infinity keeps them apart for good, also when one of them has been joined with others;
            else a cluster has the smallest value of its members.
    """
    if not vectors:
        return []
    sums = np.stack(vectors).astype(np.float64)
    least = least.copy()
    alive = np.ones(len(sums), bool)
    members = [[index] for index in range(len(sums))]

    def excess(rows: NDArray[np.int_]) -> NDArray[np.float64]:
        """How far each of `rows` is above what it takes to join it with each cluster."""
        norms = np.linalg.norm(sums, axis=1)
        likeness = sums[rows] @ sums.T / np.outer(norms[rows], norms)
        likeness -= least[rows]
        likeness[~alive[None] | (rows[:, None] == np.arange(len(sums)))] = -np.inf
        return likeness

    above = excess(np.arange(len(sums)))
    while True:
        first, second = sorted(np.unravel_index(above.argmax(), above.shape))
        if above[first, second] < 0:
            return [members[index] for index in np.flatnonzero(alive)]
        sums[first] += sums[second]
        members[first] = sorted(members[first] + members[second])
        pair = least[[first, second]]
        joined = np.where(np.isinf(pair).any(axis=0), np.inf, pair.min(axis=0))
        least[first], least[:, first] = joined, joined
        alive[second] = False
        above[second], above[:, second] = -np.inf, -np.inf
        above[first] = above[:, first] = excess(np.array([first]))[0]
