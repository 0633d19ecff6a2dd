"""Reads the audio of a section at 16 kHz, as the light recognizer's models require."""

import io
import os
from collections.abc import AsyncGenerator, Callable
from typing import Any, BinaryIO

import numpy as np
import soundfile
from anyio import to_thread
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_light import SAMPLE_RATE as LIGHT_RATE
from vibevoice_proxy.transcription.sections import Section

BLOCK_SECONDS = 10
"""Seconds of audio sent to a worker at once."""

Samples = NDArray[np.float32]
"""Mono, 16 kHz, full scale 1.0, shape (samples,)."""


async def read_blocks(section: Section, check: Callable[[], None]) -> AsyncGenerator[Samples]:
    """Yield all of `section` in blocks, read and resampled in a thread. `check` is called before
    each block and may raise."""
    section.file.seek(0)
    downsampler = Downsampler()
    with soundfile.SoundFile(section.file) as source:

        def read() -> tuple[Samples, bool]:
            block: Any = source.read(BLOCK_SECONDS * SAMPLE_RATE, dtype="float32")
            return downsampler.feed(block), not len(block)

        is_last = False
        while not is_last:
            check()
            samples, is_last = await to_thread.run_sync(read)
            yield samples


def read_piece(section: Section, start: float, end: float) -> Samples:
    """The audio from `start` to `end` seconds of the section. The section's file may be in use by
    another reader."""
    first, last = (max(0, round(at * SAMPLE_RATE)) for at in (start, end))
    with soundfile.SoundFile(_reopened(section.file)) as source:
        source.seek(min(first, source.frames))
        block: Any = source.read(max(0, last - first), dtype="float32")
    return downsampled(block)


def downsampled(samples: Samples) -> Samples:
    """All of `samples`, shape (samples,) at 24 kHz."""
    downsampler = Downsampler()
    empty: Samples = np.zeros(0, np.float32)
    first = downsampler.feed(samples) if len(samples) else empty
    return np.concatenate([first, downsampler.feed(empty)])


class Downsampler:
    """Resamples audio from 24 kHz, block by block."""

    def __init__(self) -> None:
        self._resampler = AudioResampler(format="flt", layout="mono", rate=LIGHT_RATE)

    def feed(self, block: Samples) -> Samples:
        """Resample `block`, shape (samples,) at 24 kHz. An empty block returns the remaining
        samples."""
        frame = None
        if len(block):
            frame = AudioFrame.from_ndarray(block[None], format="flt", layout="mono")
            frame.sample_rate = SAMPLE_RATE
        parts = [out.to_ndarray()[0] for out in self._resampler.resample(frame)]
        return np.concatenate([*parts, np.zeros(0, np.float32)])


def _reopened(file: BinaryIO) -> BinaryIO:
    """`file` with its own position."""
    if isinstance(file, io.BytesIO):
        return io.BytesIO(file.getvalue())
    return io.BufferedReader(_Positioned(file.fileno()))  # type: ignore[return-value]


class _Positioned(io.RawIOBase):
    """Reads an open file without moving its position."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = os.pread(self._descriptor, len(buffer), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}
        origin = origins.get(whence, os.fstat(self._descriptor).st_size)
        self._at = origin + offset
        return self._at
