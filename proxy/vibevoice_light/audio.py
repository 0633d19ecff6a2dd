"""The audio format of the models: mono, float32, full scale 1.0."""

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Samples per second, for all three models."""


def silence(samples: int) -> NDArray[np.float32]:
    """Zeros of shape (samples,)."""
    return np.zeros(samples, np.float32)
