"""The audio that the models take: mono, float32 of full scale 1.0."""

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Samples a second, of all three models."""


def silence(samples: int) -> NDArray[np.float32]:
    """Zeros of shape (samples,)."""
    return np.zeros(samples, np.float32)
