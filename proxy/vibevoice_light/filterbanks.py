"""Log-mel filterbanks as Kaldi computes them, without dither: the features CAM++ was trained on."""

import numpy as np
from numpy.typing import NDArray

from vibevoice_light.audio import SAMPLE_RATE

BANDS = 80
HOP = 160
"""Samples between two frames: 10 ms."""
LENGTH = 400
"""Samples of a frame: 25 ms."""
_FFT = 512
_LOW, _HIGH = 20.0, 8000.0
_PREEMPHASIS = 0.97
_FLOOR = np.float32(1.1920929e-07)
"""The epsilon of float32, Kaldi's minimum energy."""
_FULL_SCALE = 32768.0
"""Kaldi expects samples on a 16-bit scale."""


def _mel(frequency: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return 1127.0 * np.log1p(np.asarray(frequency) / 700.0)


def _triangles() -> NDArray[np.float32]:
    """Triangular weights of the frequencies in each band, shape (_FFT / 2 + 1, BANDS)."""
    edges = np.linspace(_mel(_LOW), _mel(_HIGH), BANDS + 2)
    found = _mel(np.arange(_FFT // 2 + 1) * SAMPLE_RATE / _FFT)[:, None]
    left, center, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (found - left) / (center - left), (right - found) / (right - center)
    weights = np.maximum(0, np.minimum(rising, falling))
    weights[-1] = 0  # Kaldi omits the Nyquist frequency
    return weights.astype(np.float32)


_TRIANGLES = _triangles()
_WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(LENGTH) / (LENGTH - 1))) ** 0.85
"""Kaldi's "povey" window."""


def filterbanks(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Filterbanks, shape (frames, 80), of `samples`, shape (samples,), mono, 16 kHz, full scale
    1.0; one frame every 10 ms, and none for less than 25 ms."""
    if len(samples) < LENGTH:
        return np.zeros((0, BANDS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, LENGTH)[::HOP] * _FULL_SCALE
    frames = frames - frames.mean(axis=1, keepdims=True)
    frames -= _PREEMPHASIS * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    spectrum = np.abs(np.fft.rfft(frames * _WINDOW, _FFT)) ** 2
    return np.log(np.maximum(spectrum.astype(np.float32) @ _TRIANGLES, _FLOOR))
