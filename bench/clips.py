"""Recordings that are all different, because the engine caches what it has encoded."""

import numpy as np
import soundfile
from scripts.stack import ROOT
from tests.support.recordings import wav


def clip(number: int, seconds: float, sample: str = "one-speaker") -> bytes:
    """A WAV file that repeats a sample for `seconds` seconds, with different noise for each
    `number`."""
    speech, rate = soundfile.read(ROOT / "samples" / f"{sample}.wav", dtype="float32")
    noise = np.random.default_rng(number).normal(0, 1e-4, int(seconds * rate))
    return wav(np.resize(speech, len(noise)) + noise, rate)
