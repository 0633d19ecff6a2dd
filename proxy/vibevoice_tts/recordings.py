"""Recordings of voices for the 1.5B model: decoded, cut to what is useful, brought to one level."""

from pathlib import Path

import av
import av.error
import numpy as np
from av.audio.resampler import AudioResampler

from vibevoice_tts.engine import InvalidRequest, Samples, SpeechError

SAMPLE_RATE = 24_000
MOST_SECONDS = 15.0
"""Voice that is used: more of it costs time in every request and adds little."""
LEAST_SECONDS, GOOD_SECONDS = 3.0, 6.0
"""A sample of a voice is refused below the first; below the second its clone is unstable."""
MAX_FILE_SECONDS = 120.0
_LEVEL_DB = -25.0
"""Root mean square that the model was trained with (microsoft/VibeVoice, preprocessor_config)."""
_EPS = 1e-6
_WINDOW = SAMPLE_RATE // 50
"""20 ms, over which silence is measured."""
_SILENCE = 10 ** (-40 / 20)
"""Loudness below which a beginning or an end is silence, against the loudest window."""


class RecordingError(SpeechError):
    """A file holds no voice; the message names the file alone."""


def read_recording(path: Path) -> Samples:
    """The first audio track of a file, mono at 24 kHz.

    Raises:
        RecordingError: it cannot be decoded, is empty or longer than two minutes.
    """
    pieces: list[np.ndarray] = []
    resampler = AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    try:
        with av.open(path) as container:
            if not container.streams.audio:
                raise RecordingError(f"{path.name} holds no audio")
            for decoded in container.decode(container.streams.audio[0]):
                pieces += [frame.to_ndarray()[0] for frame in resampler.resample(decoded)]
                if sum(piece.size for piece in pieces) > MAX_FILE_SECONDS * SAMPLE_RATE:
                    raise RecordingError(f"{path.name} is longer than {MAX_FILE_SECONDS:g} s")
            pieces += [frame.to_ndarray()[0] for frame in resampler.resample(None)]
    except (av.error.FFmpegError, OSError) as error:
        raise RecordingError(f"{path.name} cannot be decoded") from error
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if not samples.size or not np.isfinite(samples).all():
        raise RecordingError(f"{path.name} holds no usable audio")
    return samples


def check_sample(samples: Samples) -> Samples:
    """A sample of a voice to clone, trimmed.

    Raises:
        InvalidRequest: it is not made of numbers, or has too little speech.
    """
    if not np.isfinite(samples).all():
        raise InvalidRequest("The sample holds values that are not numbers.")
    trimmed = trim(samples)
    seconds = trimmed.size / SAMPLE_RATE
    if seconds < LEAST_SECONDS:
        raise InvalidRequest(
            f"The sample has {seconds:.1f} s of speech; expected {GOOD_SECONDS:g} to 30 s, and "
            f"at least {LEAST_SECONDS:g} s."
        )
    return trimmed


def trim(samples: Samples, most_seconds: float = MOST_SECONDS) -> Samples:
    """Without the silence before and after, and cut at the quietest place of the last two seconds
    if longer than `most_seconds`."""
    loud = _loudness(samples)
    if loud.size and loud.max() > 0:
        heard = np.flatnonzero(loud > loud.max() * _SILENCE)
        samples = samples[heard[0] * _WINDOW : (heard[-1] + 1) * _WINDOW]
    most = int(most_seconds * SAMPLE_RATE)
    if samples.size > most:
        loud = _loudness(samples[:most])
        last = loud[-2 * SAMPLE_RATE // _WINDOW :]
        samples = samples[: (loud.size - last.size + int(last.argmin()) + 1) * _WINDOW]
    return samples


def normalise(samples: Samples) -> Samples:
    """At -25 dB below full scale, and at most at full scale, as the model was trained."""
    samples = samples * np.float32(10 ** (_LEVEL_DB / 20) / (np.sqrt(np.mean(samples**2)) + _EPS))
    peak = np.abs(samples).max()
    return samples / (peak + _EPS) if peak > 1 else samples


def _loudness(samples: Samples) -> np.ndarray:
    """Root mean square of every 20 ms; the last may be shorter."""
    starts = np.arange(0, samples.size, _WINDOW)
    counts = np.diff(np.append(starts, samples.size))
    return np.sqrt(np.add.reduceat(samples.astype(np.float64) ** 2, starts) / counts)
