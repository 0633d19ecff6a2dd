"""Reference recordings of voices for the 1.5B model: decoding, trimming and level normalization."""

from pathlib import Path

import numpy as np

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.decode import decode
from vibevoice_core.errors import AudioTooLong, DecodeError
from vibevoice_tts.speech_model import Samples, SpeechError, SpeechRejected

MAX_SECONDS = 15.0
"""Speech used from a recording: more of it costs time in every request and adds little."""
MIN_SECONDS, GOOD_SECONDS = 3.0, 6.0
"""A voice sample shorter than the first is rejected; shorter than the second, its clone is
unstable."""
MAX_FILE_SECONDS = 120.0
"""Longest recording that is decoded."""
_DECODE_SECONDS = 60.0
"""Time limit for decoding; a recording of MAX_FILE_SECONDS takes less than a second."""
_LEVEL_DB = -25.0
"""RMS level that the model was trained with (microsoft/VibeVoice, preprocessor_config)."""
_EPS = 1e-6
_WINDOW = SAMPLE_RATE // 50
"""Window for measuring loudness, 20 ms."""
_SILENCE = 10 ** (-40 / 20)
"""Loudness relative to the loudest window; below it, the beginning and the end are silence."""


class RecordingError(SpeechError):
    """A file is not a usable voice recording; the message names the file without its path."""


def read_recording(path: Path) -> Samples:
    """The first audio track of a file, mono at 24 kHz.

    Raises:
        RecordingError: the file cannot be decoded, is empty or is longer than MAX_FILE_SECONDS.
    """
    try:
        with path.open("rb") as file:
            blocks = decode(file, np.float32, max_seconds=MAX_FILE_SECONDS, timeout=_DECODE_SECONDS)
            samples = np.concatenate([np.zeros(0, np.float32), *blocks])
    except AudioTooLong as error:
        raise RecordingError(f"{path.name} is longer than {MAX_FILE_SECONDS:g} s") from error
    except (DecodeError, OSError) as error:
        raise RecordingError(f"{path.name} cannot be decoded") from error
    if not samples.size:
        raise RecordingError(f"{path.name} contains no audio")
    return samples


def check_sample(samples: Samples) -> Samples:
    """The sample of a voice to clone, trimmed; see `trim`.

    Raises:
        SpeechRejected: it contains non-finite values or too little speech.
    """
    if not np.isfinite(samples).all():
        raise SpeechRejected("The sample contains non-finite values.")
    trimmed = trim(samples)
    seconds = trimmed.size / SAMPLE_RATE
    if seconds < MIN_SECONDS:
        raise SpeechRejected(
            f"The sample has {seconds:.1f} s of speech; expected {GOOD_SECONDS:g} to 30 s "
            f"(minimum: {MIN_SECONDS:g} s)."
        )
    return trimmed


def trim(samples: Samples) -> Samples:
    """`samples` without silence at both ends. Longer audio is cut at the quietest point in the last
    two seconds before MAX_SECONDS."""
    loud = _loudness(samples)
    if loud.size and loud.max() > 0:
        heard = np.flatnonzero(loud > loud.max() * _SILENCE)
        samples = samples[heard[0] * _WINDOW : (heard[-1] + 1) * _WINDOW]
    most = int(MAX_SECONDS * SAMPLE_RATE)
    if samples.size > most:
        loud = _loudness(samples[:most])
        last = loud[-2 * SAMPLE_RATE // _WINDOW :]
        samples = samples[: (loud.size - last.size + int(last.argmin()) + 1) * _WINDOW]
    return samples


def normalize(samples: Samples) -> Samples:
    """`samples` scaled to -25 dBFS, with no peak above full scale, as in training."""
    samples = samples * np.float32(10 ** (_LEVEL_DB / 20) / (np.sqrt(np.mean(samples**2)) + _EPS))
    peak = np.abs(samples).max()
    return samples / (peak + _EPS) if peak > 1 else samples


def _loudness(samples: Samples) -> np.ndarray:
    """RMS of each 20 ms window, shape (windows,); the last window may be shorter."""
    starts = np.arange(0, samples.size, _WINDOW)
    counts = np.diff(np.append(starts, samples.size))
    return np.sqrt(np.add.reduceat(samples.astype(np.float64) ** 2, starts) / counts)
