"""Clusters voice embeddings, one cluster per person."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def cluster(vectors: Sequence[NDArray[np.float32]], least: NDArray[np.float64]) -> list[list[int]]:
    """Cluster `vectors`. Repeatedly join the two clusters whose mean directions are most similar,
    as long as their dot product reaches the threshold.

    Args:
        vectors: each of shape (dimensions,); the length of a vector is its weight.
        least: shape (vectors, vectors), symmetric: the threshold for each pair. Infinity keeps a
            pair apart even after one of them was joined with others. Otherwise a cluster has the
            smallest threshold of its members.

    Returns:
        Indices into `vectors` for each cluster, in order of first members.
    """
    if not vectors:
        return []
    sums = np.stack(vectors).astype(np.float64)
    least = least.copy()
    alive = np.ones(len(sums), bool)
    members = [[index] for index in range(len(sums))]

    def excess(rows: NDArray[np.int_]) -> NDArray[np.float64]:
        """By how much the similarity between `rows` and each cluster exceeds the threshold."""
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
