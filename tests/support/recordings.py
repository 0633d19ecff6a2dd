"""Generates recordings in every container format."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import anyio
import av
import numpy as np
import soundfile
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from vibevoice_proxy.decoder import AudioDecoder
from vibevoice_proxy.transcription.sections import Recording
from vibevoice_proxy.transcription.transcode import transcode


def tone(seconds: float, rate: int = 24_000, frequency: float = 440.0) -> NDArray[np.float32]:
    """A sine at half of full scale, shape (samples,)."""
    times = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * frequency * times)).astype(np.float32)


def gliding_tone(seconds: float) -> NDArray[np.float32]:
    """A tone that rises and falls, with noise that is different for each length, as float32 at 24
    kHz."""
    rng, n = np.random.default_rng(round(1000 * seconds)), int(seconds * 24_000)
    t = np.arange(n) / 24_000
    samples = np.sin(1000 * t + 30 * np.sin(5 * t)) * (0.3 + 0.2 * np.sin(17 * t))
    return (samples + 0.05 * rng.standard_normal(n)).astype(np.float32)


def wav(
    samples: NDArray[Any], rate: int = 24_000, subtype: str = "PCM_16", format: str = "WAV"
) -> bytes:
    """`samples`, shape (samples,) or (samples, channels), as a WAV file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def encoded(
    container: str,
    codec: str,
    seconds: float = 2.0,
    *,
    rate: int = 48_000,
    layout: str = "mono",
    video: bool = False,
) -> bytes:
    """A 440 Hz tone in any container and codec, with a video stream if `video`."""
    file = io.BytesIO()
    encode_to(file, container, codec, seconds, rate=rate, layout=layout, video=video)
    return file.getvalue()


class Pipe(io.RawIOBase):
    """A file that cannot be seeked, so nothing is written to its header afterward."""

    def __init__(self) -> None:
        self._file = io.BytesIO()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def getvalue(self) -> bytes:
        """Everything written so far."""
        return self._file.getvalue()


def encode_to(
    file: Path | io.IOBase,
    container: str,
    codec: str,
    seconds: float = 2.0,
    *,
    rate: int = 48_000,
    layout: str = "mono",
    video: bool = False,
    options: dict[str, str] | None = None,
) -> None:
    """Write a recording as `encoded` returns it, with `options` of FFmpeg's muxer."""
    with av.open(file, "w", format=container, options=options or {}) as output:
        picture = output.add_stream("mpeg4", rate=5) if video else None
        stream = cast(AudioStream, output.add_stream(codec, rate=rate, layout=layout))
        if picture:
            picture.width = picture.height = 32
            for pts in range(int(5 * seconds)):
                image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
                image.pts = pts
                output.mux(picture.encode(image))
            output.mux(picture.encode(None))
        samples = np.tile(tone(seconds, rate), (len(av.AudioLayout(layout).channels), 1))
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(
            stream.format, layout, rate, frame_size=stream.frame_size or 1024
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))


def transcoded(
    data: bytes,
    new_file: Callable[[], BinaryIO],
    *,
    encoding: str = "flac",
    max_seconds: float = 3660.0,
    max_section_seconds: float = 3600.0,
    timeout: float = 60.0,
) -> Recording:
    """`data` decoded and re-encoded for the recognizer as in the proxy."""
    consume = partial(
        transcode, new_file=new_file, encoding=encoding, max_section_seconds=max_section_seconds
    )
    decoder = AudioDecoder(1, timeout)
    recording, _ = anyio.run(decoder.run, io.BytesIO(data), max_seconds, consume)
    return recording
