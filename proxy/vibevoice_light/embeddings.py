"""Voice embeddings from CAM++ (3D-Speaker's "zh-en common advanced", Apache-2.0), with overlapping
windows that share one pass through the network."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vibevoice_light.audio import SAMPLE_RATE
from vibevoice_light.filterbanks import HOP, LENGTH, filterbanks
from vibevoice_light.sessions import Session

WINDOW_SECONDS = 1.5
"""Window length. Confuses two voices in 1.4 % of cases (3.4 % with 1 s, 9.5 % with 0.6 s)."""
STEP_SECONDS = 0.5
MIN_SAMPLES = LENGTH + 4 * HOP
"""Fewer samples give fewer than two frames to pool."""
_POOLED = 2 * HOP
"""Samples per frame that the network pools: 20 ms."""


@dataclass(frozen=True, slots=True)
class Window:
    """The voice embedding for a part of a recording."""

    start: float
    """Seconds from the beginning of the embedded samples."""
    end: float
    """Seconds."""
    vector: NDArray[np.float32]
    """Shape (192,), unit length; compared by dot product."""


class SpeakerEmbedder:
    """Computes voice embeddings in windows."""

    def __init__(self, session: Session) -> None:
        """`session`: the model written by `scripts/convert_speaker_model.py`."""
        self._session = session

    def embed(self, samples: NDArray[np.float32]) -> list[Window]:
        """The windows of `samples`, shape (samples,), mono, 16 kHz: at most a few seconds.
        The windows are WINDOW_SECONDS long, or as long as the speech if that is shorter, and
        STEP_SECONDS apart; together they cover the speech. Empty for less than 65 ms."""
        if len(samples) < MIN_SAMPLES:
            return []
        banks = filterbanks(samples)
        count = -(-len(banks) // 2)
        spans = _spans(count, round(WINDOW_SECONDS * SAMPLE_RATE / _POOLED))
        weights = np.zeros((len(spans), count), np.float32)
        for row, (start, end) in zip(weights, spans, strict=True):
            row[start:end] = 1
        feed = {"filterbanks": (banks - banks.mean(axis=0))[None], "weights": weights}
        [vectors] = self._session.run(None, feed)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        seconds = _POOLED / SAMPLE_RATE
        return [
            Window(start * seconds, end * seconds, vector)
            for (start, end), vector in zip(spans, vectors, strict=True)
        ]


def _spans(count: int, length: int) -> list[tuple[int, int]]:
    """First and last frames of the windows of `length` frames that cover `count` frames."""
    if count <= length:
        return [(0, count)]
    step = STEP_SECONDS * SAMPLE_RATE / _POOLED
    starts = np.linspace(0, count - length, 1 + round((count - length) / step + 0.499))
    return [(round(start), round(start) + length) for start in starts.tolist()]
