"""Recordings that no bench sends twice, since the engine keeps what it has encoded."""

import numpy as np
import soundfile
from scripts.stack import ROOT
from tests.support.recordings import wav


def clip(number: int, seconds: float, sample: str = "one-speaker") -> bytes:
    """A sample again and again for so many seconds, with noise of its own for each number, as
    WAV."""
    speech, rate = soundfile.read(ROOT / "samples" / f"{sample}.wav", dtype="float32")
    noise = np.random.default_rng(number).normal(0, 1e-4, int(seconds * rate))
    return wav(np.resize(speech, len(noise)) + noise, rate)
