"""Simulates the path from speaker to recording: noise, codecs, rooms. Times do not change."""

import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

import av
import numpy as np
import soxr
from av.audio.stream import AudioStream
from numpy.typing import NDArray
from tests.support.real_voices import RATE

Samples = NDArray[np.float32]
"""Mono, 16 kHz, shape (samples,)."""
REVERBERATION_SECONDS = 0.4
"""Time in which sound decays by 60 dB: a furnished room."""
DIRECT_TO_REVERBERANT = 3.0
"""Direct-to-reverberant ratio in dB: a person two steps from the microphone."""


def pink(count: int, rng: np.random.Generator) -> Samples:
    """`count` samples of noise that falls by 3 dB per octave, with mean square 1."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    samples = np.fft.irfft(spectrum, count)
    return (samples / np.sqrt(np.mean(np.square(samples)))).astype(np.float32)


def noisy(samples: Samples, snr: float) -> Samples:
    """Add pink noise `snr` dB below the speech, whose level is that of its louder half."""
    power = np.square(samples[: len(samples) // RATE * RATE]).reshape(-1, RATE // 50).mean(axis=1)
    speech = np.sqrt(np.mean(np.sort(power)[len(power) // 2 :]))
    noise = pink(len(samples), np.random.default_rng(5))
    return (samples + noise * speech * 10 ** (-snr / 20)).astype(np.float32)


def room(samples: Samples) -> Samples:
    """Add a room with a synthetic impulse response: the direct sound, then decaying noise."""
    rng = np.random.default_rng(6)
    time = np.arange(round(REVERBERATION_SECONDS * RATE)) / RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / REVERBERATION_SECONDS)
    tail[: RATE // 400] = 0  # the first wall is 2.5 ms away
    tail *= 10 ** (-DIRECT_TO_REVERBERANT / 20) / np.sqrt(np.sum(np.square(tail)))
    tail[0] = 1
    size = len(samples) + len(tail) - 1
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)[: len(samples)]
    return (wet / max(1.0, np.abs(wet).max())).astype(np.float32)


def coded(samples: Samples, container: str, codec: str, rate: int, bit_rate: int) -> Samples:
    """Encode the recording with a codec and decode it."""
    data = io.BytesIO()
    with av.open(data, "w", format=container) as output:
        stream = cast(AudioStream, output.add_stream(codec, rate=rate, layout="mono"))
        if bit_rate:
            stream.bit_rate = bit_rate
        pcm = (soxr.resample(samples, RATE, rate).clip(-1, 1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm[None], "s16", "mono")
        frame.sample_rate = rate
        output.mux([*stream.encode(frame), *stream.encode(None)])
    data.seek(0)
    with av.open(data, "r") as source:
        resampler = av.AudioResampler("flt", "mono", RATE)
        frames = [out for frame in source.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
    decoded = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    return np.pad(decoded, (0, max(0, len(samples) - len(decoded))))[: len(samples)]


CHANNELS: Mapping[str, Callable[[Samples], Samples]] = {
    "clean": lambda samples: samples,
    "noise, 20 dB": partial(noisy, snr=20),
    "noise, 10 dB": partial(noisy, snr=10),
    "G.711, 8 kHz": partial(coded, container="wav", codec="pcm_mulaw", rate=8000, bit_rate=0),
    "Opus, 16 kbit/s": partial(
        coded, container="ogg", codec="libopus", rate=16000, bit_rate=16_000
    ),
    "MP3, 64 kbit/s": partial(
        coded, container="mp3", codec="libmp3lame", rate=16000, bit_rate=64_000
    ),
    "room, 0.4 s": room,
}
