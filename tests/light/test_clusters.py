"""Clustering of voice embeddings."""

import numpy as np
import pytest

from vibevoice_light import cluster

EAST, NORTH = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
NORTH_EAST = np.array([0.7, 0.7], np.float32)


@pytest.mark.parametrize(
    ("least", "expected"),
    [(0.6, [[0, 2], [1]]), (0.96, [[0], [1], [2]]), (-1.0, [[0, 1, 2]])],
)
def test_the_most_alike_are_joined_first(least: float, expected: list[list[int]]) -> None:
    """The most similar clusters are joined first, as long as they are similar enough."""
    vectors = [EAST, NORTH, 3 * EAST + NORTH]
    assert cluster(vectors, np.full((3, 3), least)) == expected


def test_what_is_kept_apart_stays_apart_through_others() -> None:
    """The first two stay apart, however similar the third is to both."""
    least = np.full((3, 3), -1.0)
    least[0, 1] = least[1, 0] = np.inf
    assert cluster([EAST, NORTH, (NORTH_EAST + 0.1 * EAST).astype(np.float32)], least) == [
        [0, 2],
        [1],
    ]


def test_no_vectors() -> None:
    """No vectors give no clusters."""
    assert cluster([], np.zeros((0, 0))) == []
