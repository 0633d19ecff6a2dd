"""The audio of a chat request: a data: URL, or file: below an allowed folder, decoded by PyAV.

vLLM's own connector decodes whole files at their own rate and width, several times over, and its
PyAV route misreads interleaved stereo; this one is chosen by `VLLM_MEDIA_CONNECTOR=vibevoice`.
Nothing is fetched from a network.
"""

import asyncio
import binascii
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from urllib.request import url2pathname

import av
import numpy as np
import pybase64
from av.audio.resampler import AudioResampler
from av.error import FFmpegError
from urllib3.util import Url
from vllm.multimodal.media import MediaConnector
from vllm.multimodal.media.audio import AudioMediaIO
from vllm.multimodal.media.connector import global_thread_pool
from vllm.utils.mem_constants import MiB_bytes

from vibevoice_vllm.audio import RATE
from vibevoice_vllm.config import PluginSettings

# Without playlists, `concat`, SDP and the like, which open files and sockets of their own.
_OPEN_OPTIONS = {
    "format_whitelist": "aac,ac3,aiff,amr,asf,au,caf,flac,flv,matroska,webm,mov,mp4,m4a,3gp,3g2,"
    "mj2,mp3,mpeg,mpegts,ogg,w64,wav",
    "protocol_whitelist": "pipe",
}
# FFmpeg would search more of every WAV file for DTS, which takes it 8 to 26 ms, and cut it into
# packets of 43 to 85 ms, each with its price here.
_WAV_OPTIONS = {**_OPEN_OPTIONS, "max_probe_packets": "1", "max_size": "32768"}
_RATES = range(1_000, 768_001)
"""Hz. A forged rate would turn one small packet into hours."""


def decode(file: BinaryIO, max_seconds: float) -> np.ndarray:
    """The first audio stream of a file of any common container, mono, float32 at 24 kHz.

    Corrupt packets are left out, as ffmpeg does.

    Raises:
        ValueError: no audio, mostly corrupt audio, or more than `max_seconds`.
    """
    # Pages of this that nothing is written to take no memory.
    samples = np.empty(int(max_seconds * RATE) + RATE, np.float32)
    count = 0
    for block in _blocks(file):
        end = count + block.size
        if end > samples.size:
            raise ValueError(f"The audio is too long: expected at most {max_seconds:g} seconds.")
        samples[count:end] = block
        count = end
    return samples[:count]


def _is_wav(file: BinaryIO) -> bool:
    start = file.read(12)
    file.seek(0)
    return start[:4] in (b"RIFF", b"RF64") and start[8:] == b"WAVE"


def _blocks(file: BinaryIO) -> Iterator[np.ndarray]:
    try:
        options = _WAV_OPTIONS if _is_wav(file) else _OPEN_OPTIONS
        container = av.open(file, "r", options=options, metadata_errors="replace")
    except (FFmpegError, ValueError) as error:
        raise _undecodable() from error
    with container:
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            raise ValueError("The file holds no audio: expected an audio stream.")
        if stream.codec_context is None:  # no decoder: FFmpeg would be called without one
            raise _undecodable()
        good = corrupt = 0
        resampler, kind = None, None
        for packet in _packets(container, stream):
            try:
                frames = packet.decode()
            except FFmpegError:
                corrupt += 1
                continue
            for frame in frames:
                good += 1
                # A stream may change its rate or channels on the way (AAC, chained Ogg).
                if (now := (frame.format.name, frame.layout.name, frame.sample_rate)) != kind:
                    yield from _resample(resampler, None)
                    if frame.sample_rate not in _RATES:
                        raise ValueError(
                            f"The audio claims a rate of {frame.sample_rate} Hz: expected "
                            f"{_RATES.start} to {_RATES.stop - 1}."
                        )
                    resampler, kind = AudioResampler("flt", "mono", RATE), now
                yield from _resample(resampler, frame)
        yield from _resample(resampler, None)
        if corrupt > good:
            raise _undecodable()


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    packets = container.demux(stream)
    while True:
        try:
            yield next(packets)
        except (StopIteration, FFmpegError):
            return


def _resample(resampler: AudioResampler | None, frame: Any) -> Iterator[np.ndarray]:
    """`frame` resampled; None flushes."""
    for out in resampler.resample(frame) if resampler else []:
        yield out.to_ndarray()[0]


def _undecodable() -> ValueError:
    return ValueError(
        "The audio could not be decoded: expected a recording in a common format, such as wav, "
        "flac, mp3, m4a, ogg or webm."
    )


class RecordingIO(AudioMediaIO):
    """Encoded audio → (samples (n,) float32 mono, 24000)."""

    def __init__(self, max_seconds: float) -> None:
        super().__init__()
        self._max_seconds = max_seconds

    def _validate_encoded_size(self, size: int) -> None:
        if size > (limit := self.get_max_bytes()):
            raise ValueError(
                f"The audio file has {size / MiB_bytes:.1f} MiB: expected at most "
                f"{limit / MiB_bytes:g} MiB."
            )

    def load_base64(self, media_type: str, data: str) -> tuple[np.ndarray, float]:
        self._validate_encoded_size(len(data) // 4 * 3)
        try:
            return self.load_bytes(pybase64.b64decode(data, validate=True))
        except binascii.Error as error:
            raise ValueError("The audio's data: URL is not valid base64.") from error

    def load_bytes(self, data: bytes) -> tuple[np.ndarray, float]:
        self._validate_encoded_size(len(data))
        return decode(BytesIO(data), self._max_seconds), RATE

    def load_file(self, filepath: Path) -> tuple[np.ndarray, float]:
        try:
            self._validate_encoded_size(filepath.stat().st_size)
            with filepath.open("rb") as file:
                return decode(file, self._max_seconds), RATE
        except OSError as error:
            raise ValueError("The audio file cannot be read.") from error


class RecordingConnector(MediaConnector):
    """Loads media from data: and file: URLs, and from no network."""

    def load_from_url(self, url: str, media_io: Any, *, fetch_timeout: int | None = None) -> Any:
        """
        Raises:
            ValueError: the URL is of another kind, or its audio cannot be taken.
        """
        scheme, _, rest = url.partition(":")
        if scheme == "data" and ";base64," not in rest[:256]:
            raise ValueError("Expected a data: URL of the form data:audio/wav;base64,….")
        if scheme not in ("data", "file"):
            raise ValueError("Expected the audio as a data: URL; nothing is fetched.")
        if isinstance(media_io, AudioMediaIO):
            media_io = RecordingIO(PluginSettings().engine_audio_seconds)
        return super().load_from_url(url, media_io)

    async def load_from_url_async(
        self, url: str, media_io: Any, *, fetch_timeout: int | None = None
    ) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(global_thread_pool, self.load_from_url, url, media_io)

    def _load_file_url(self, url_spec: Url, media_io: Any) -> Any:
        allowed = self.allowed_local_media_path
        path = Path(url2pathname(url_spec.path or "")).resolve()
        if not allowed or not path.is_relative_to(Path(allowed).resolve()):
            raise ValueError("This file: URL is not allowed: expected a data: URL.")
        return media_io.load_file(path)
