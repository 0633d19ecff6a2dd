"""Loads the audio of a chat request from a data: URL, or a file: URL in an allowed folder.

vLLM's own connector decodes whole files at their original rate and channel count, several times
each, and its PyAV route misreads interleaved stereo. This one is selected with
`VLLM_MEDIA_CONNECTOR=vibevoice`. It never accesses the network.
"""

import asyncio
import binascii
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from urllib.request import url2pathname

import numpy as np
import pybase64
from urllib3.util import Url
from vllm.multimodal.media import MediaConnector
from vllm.multimodal.media.audio import AudioMediaIO
from vllm.multimodal.media.connector import global_thread_pool
from vllm.utils.mem_constants import MiB_bytes

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.decode import decode
from vibevoice_vllm.settings import PluginSettings


def read_audio(file: BinaryIO, settings: PluginSettings) -> np.ndarray:
    """Decode a whole recording to mono float32 at 24 kHz.

    Raises:
        DecodeError: see `vibevoice_core.decode`. It is a ValueError, which vLLM answers with 400.
    """
    seconds = settings.engine_audio_seconds
    # Pages that are never written to take no memory.
    samples = np.empty(int(seconds * SAMPLE_RATE), np.float32)
    count = 0
    for block in decode(file, np.float32, max_seconds=seconds, timeout=settings.decode_timeout):
        samples[count : count + block.size] = block
        count += block.size
    return samples[:count]


class RecordingIO(AudioMediaIO):
    """Encoded audio → (samples (n,) float32 mono, 24000)."""

    def __init__(self, settings: PluginSettings) -> None:
        super().__init__()
        self._settings = settings

    def _validate_encoded_size(self, size: int) -> None:
        if size > (limit := self.get_max_bytes()):
            raise ValueError(
                f"The audio file is {size / MiB_bytes:.1f} MiB: expected at most "
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
        return read_audio(BytesIO(data), self._settings), SAMPLE_RATE

    def load_file(self, filepath: Path) -> tuple[np.ndarray, float]:
        try:
            self._validate_encoded_size(filepath.stat().st_size)
            with filepath.open("rb") as file:
                return read_audio(file, self._settings), SAMPLE_RATE
        except OSError as error:
            raise ValueError("The audio file cannot be read.") from error


class RecordingConnector(MediaConnector):
    """Loads media from data: and file: URLs, never from a network."""

    def load_from_url(self, url: str, media_io: Any, *, fetch_timeout: int | None = None) -> Any:
        """
        Raises:
            ValueError: the URL has another scheme, or its audio cannot be read.
        """
        scheme, _, rest = url.partition(":")
        if scheme == "data" and ";base64," not in rest[:256]:
            raise ValueError("Expected a data: URL of the form data:audio/wav;base64,….")
        if scheme not in ("data", "file"):
            raise ValueError("Expected the audio as a data: URL; other URLs are not fetched.")
        if isinstance(media_io, AudioMediaIO):
            media_io = RecordingIO(PluginSettings())
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
