"""Cuts a decoded recording into windows for the encoder. Pure functions on float32 mono audio."""

from dataclasses import dataclass
from math import isfinite, sqrt
from zlib import crc32

import numpy as np

from vibevoice_core.audio import SAMPLE_RATE

_TARGET_DBFS = -25
_EPS = 1e-6
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Window:
    """Part of a recording, preceded by the audio context that its tokens depend on."""

    samples: np.ndarray
    """(samples,) float32 at `SAMPLE_RATE`, a whole number of hops: the context, then the window."""
    tokens: int
    """Number of audio tokens in the window itself; they are the last tokens of `samples`."""
    seed: int
    """64-bit seed of the acoustic noise, derived from the recording and the window's offset in
    it."""


def normalize(samples: np.ndarray, hop: int) -> np.ndarray:
    """Normalize (samples,) float32 to -25 dBFS (RMS) over the whole recording, with peaks below
    1.0, and pad it with silence to a whole number of hops.

    Same as transformers' `VibeVoiceAcousticTokenizerFeatureExtractor`.
    """
    rms = sqrt(energy(samples) / len(samples))
    whole = np.zeros(-(-len(samples) // hop) * hop, np.float32)
    np.multiply(samples, 10 ** (_TARGET_DBFS / 20) / (rms + _EPS), out=whole[: len(samples)])
    peak = max(float(whole.max()), -float(whole.min()))
    if peak > 1.0:
        whole /= peak + _EPS
    return whole


def energy(samples: np.ndarray) -> float:
    """The sum of squares, computed without copying the recording; not finite if any sample is
    not."""
    with np.errstate(over="ignore", invalid="ignore"):
        blocks = (samples[i : i + _BLOCK] for i in range(0, len(samples), _BLOCK))
        return sum(float(block @ block) for block in blocks)


def check(samples: np.ndarray, max_seconds: float) -> None:
    """Reject audio that cannot be transcribed.

    Raises:
        ValueError: there are no samples, too many samples, or samples that are not finite, which
            would corrupt the answers of other requests.
    """
    if samples.ndim != 1:
        raise ValueError(f"Expected one channel of audio, got an array of shape {samples.shape}.")
    if not samples.size:
        raise ValueError("The audio is empty: expected at least one sample.")
    if samples.size > max_seconds * SAMPLE_RATE:
        raise ValueError(
            f"The audio is {samples.size / SAMPLE_RATE:.1f} seconds long: expected at most "
            f"{max_seconds:g} seconds."
        )
    if not isfinite(energy(samples)):
        raise ValueError(
            "The audio contains samples that are not finite (NaN or infinity) or are far too large."
        )


def cut(samples: np.ndarray, hop: int, window_tokens: int, context_tokens: int) -> list[Window]:
    """Cut a normalized recording, padded to whole hops, into windows of `window_tokens` audio
    tokens; the last may be shorter. The windows are views of the recording, not copies."""
    seed = crc32(samples.data)
    total = len(samples) // hop
    windows = []
    for start in range(0, total, window_tokens):
        end = min(start + window_tokens, total)
        with_context = samples[max(0, start - context_tokens) * hop : end * hop]
        windows.append(Window(with_context, end - start, seed << 20 | start))
    return windows
