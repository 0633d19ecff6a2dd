"""Encodes speech as a stream in the six response formats of OpenAI's API."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import cast

import av
import av.error
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.filter import Graph

from vibevoice_proxy.speech.lengths import Held

SLOWEST, FASTEST = 0.25, 4.0
"""OpenAI's limits of `speed`."""

_UNKNOWN_LENGTH = 0xFFFFFFFF
"""The value that ffmpeg writes into a WAV header if it cannot seek back."""


@dataclass(frozen=True)
class Encoding:
    """A response format: its media type and its encoder; `codec` is empty for plain samples.

    MP3 and AAC are encoded at 48 kHz: their encoders add up to a frame of silence at both ends that
    no header describes, and at 24 kHz it would last 70 ms.
    """

    media_type: str
    container: str = ""
    codec: str = ""
    rate: int = 24_000
    bit_rate: int | None = None
    muxer_options: tuple[tuple[str, str], ...] = ()
    codec_options: tuple[tuple[str, str], ...] = ()
    """A faster encoder search at the same bit rate, which halves the encoding time."""


ENCODINGS: Mapping[str, Encoding] = MappingProxyType(
    {
        "mp3": Encoding(
            "audio/mpeg",
            "mp3",
            "libmp3lame",
            48_000,
            64_000,
            codec_options=(("compression_level", "7"),),
        ),
        "opus": Encoding(
            "audio/ogg",
            "ogg",
            "libopus",
            48_000,
            48_000,
            (("page_duration", "20000"),),
            (("compression_level", "5"),),
        ),
        "aac": Encoding("audio/aac", "adts", "aac", 48_000, 64_000),
        "flac": Encoding("audio/flac", "flac", "flac"),
        "wav": Encoding("audio/wav"),
        "pcm": Encoding("audio/pcm"),
    }
)
"""Encodings by OpenAI's `response_format`; pcm is 16-bit little-endian mono at 24 kHz."""
RESPONSE_FORMATS = tuple(ENCODINGS)


class Encoder:
    """Encodes the samples of one response as they arrive. Call it from threads, one at a time, not
    from the event loop."""

    def __init__(self, response_format: str, sample_rate: int, speed: float = 1.0) -> None:
        """`sample_rate`: of the input samples, in Hz. `speed`: changes the length and keeps the
        pitch. Raises KeyError if the format is not in ENCODINGS."""
        encoding = ENCODINGS[response_format]
        self._tempo = _Tempo(sample_rate, speed) if speed != 1.0 else None
        self._resampler = AudioResampler("s16", "mono", encoding.rate)
        self._sample_rate = sample_rate
        self._samples = 0
        self._written = 0
        """Samples written, at the rate of the encoding."""
        self._held = Held(response_format)
        self._writer = _Muxer(encoding) if encoding.codec else _Pcm(response_format == "wav")

    def feed(self, samples: np.ndarray) -> bytes:
        """Encode `samples` (mono float32) and return the bytes that are ready; often none."""
        frame = _frame(samples, self._sample_rate, self._samples)
        self._samples += len(samples)
        frames = self._tempo.feed(frame) if self._tempo else [frame]
        return self._held.feed(self._write(frames))

    def finish(self) -> bytes:
        """The last bytes."""
        rest = self._write([*(self._tempo.finish() if self._tempo else ()), None])
        return self._held.finish(rest + self._writer.finish(), self._written)

    def _write(self, frames: "list[av.AudioFrame | None] | list[av.AudioFrame]") -> bytes:
        resampled = [part for frame in frames for part in self._resampler.resample(frame)]
        self._written += sum(part.samples for part in resampled)
        return self._writer.write(resampled)


class _Tempo:
    """ffmpeg's atempo filter; factors outside its best range are applied in two steps."""

    def __init__(self, sample_rate: int, speed: float) -> None:
        self._graph = Graph()
        nodes = [
            self._graph.add_abuffer(
                sample_rate=sample_rate,
                format="fltp",
                layout="mono",
                time_base=Fraction(1, sample_rate),
            ),
            *(self._graph.add("atempo", f"{factor:.6f}") for factor in _factors(speed)),
            self._graph.add("abuffersink"),
        ]
        self._graph.link_nodes(*nodes).configure()

    def feed(self, frame: av.AudioFrame) -> list[av.AudioFrame]:
        self._graph.push(frame)
        return list(self._pull())

    def finish(self) -> list[av.AudioFrame]:
        self._graph.push(None)
        return list(self._pull())

    def _pull(self) -> Iterator[av.AudioFrame]:
        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            assert isinstance(frame, av.AudioFrame)
            frame.pts = None  # the resampler restarts the sample count
            yield frame


class _Pcm:
    """Writes plain samples; for WAV, after a header with unknown length."""

    def __init__(self, with_header: bool) -> None:
        self._header = _wav_header(24_000) if with_header else b""

    def write(self, frames: list[av.AudioFrame]) -> bytes:
        head, self._header = self._header, b""
        return head + b"".join(frame.to_ndarray().astype("<i2").tobytes() for frame in frames)

    def finish(self) -> bytes:
        return b""


class _Muxer:
    """Encodes into a container without seeking."""

    def __init__(self, encoding: Encoding) -> None:
        self._sink = _Sink()
        self._container = av.open(
            self._sink,
            "w",
            format=encoding.container,
            options={"flush_packets": "1", **dict(encoding.muxer_options)},
        )
        self._stream = cast(
            AudioStream,
            self._container.add_stream(
                encoding.codec,
                rate=encoding.rate,
                layout="mono",
                options=dict(encoding.codec_options),
            ),
        )
        context = self._stream.codec_context
        if encoding.bit_rate:
            context.bit_rate = encoding.bit_rate
        self._resampler = AudioResampler(context.format, "mono", encoding.rate)

    def write(self, frames: list[av.AudioFrame]) -> bytes:
        for frame in frames:
            for part in self._resampler.resample(frame):
                self._container.mux(self._stream.encode(part))
        return self._sink.take()

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._sink.take()


class _Sink:
    """A write-only file object for PyAV."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken


def _frame(samples: np.ndarray, rate: int, position: int) -> av.AudioFrame:
    # Clip peaks above 1: scaling the chunk would be audible as a change in level.
    clipped = np.clip(samples, -1.0, 1.0).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(clipped[None], format="fltp", layout="mono")
    frame.sample_rate = rate
    frame.pts = position
    frame.time_base = Fraction(1, rate)
    return frame


def _factors(speed: float) -> list[float]:
    """Factors from 0.5 to 2 whose product is `speed`; outside that range, atempo skips samples."""
    if 0.5 <= speed <= 2.0:
        return [speed]
    return [speed**0.5, speed**0.5]


def _wav_header(rate: int) -> bytes:
    """RIFF header for 16-bit mono PCM with unknown length."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", _UNKNOWN_LENGTH, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16),
        *(b"data", _UNKNOWN_LENGTH),
    )
