"""Audio from a microphone, a file, or stdin.

All yield blocks of 16-bit little-endian samples at 24 kHz, mono.
"""

import asyncio
import os
import stat
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.distribution import pip_install
from vibevoice_live.errors import SourceError

BYTES_PER_SECOND = 2 * SAMPLE_RATE
BLOCK_SECONDS = 0.1
_BLOCK = round(BLOCK_SECONDS * BYTES_PER_SECOND)
_LONGEST_FILE = 24 * 3600.0
MAX_WAITING_SECONDS = 60.0
"""Maximum microphone audio waiting to be sent."""
_NO_LIBRARY = f"the microphone needs the Python package sounddevice: {pip_install('live')}"
_NO_PORTAUDIO = (
    "the microphone needs the library PortAudio: apt-get install libportaudio2, or pipe samples to "
    "stdin (see --help)"
)


async def file_blocks(path: Path) -> AsyncGenerator[bytes]:
    """The audio of a recording in any common format. Raises SourceError, at the end if the file was
    cut off."""
    blocks = await asyncio.to_thread(_decoded, path)
    while block := await asyncio.to_thread(next, blocks, None):
        yield block


def _decoded(path: Path) -> Iterator[bytes]:
    # Imported here: they take half a second to load, and a microphone does not need them.
    import numpy as np

    from vibevoice_core.decode import Report, decode
    from vibevoice_core.errors import AudioTooLong, DecodeError

    def blocks() -> Iterator[bytes]:
        rest = b""
        report = Report()
        try:
            with path.open("rb") as file:
                for samples in decode(
                    file,
                    np.int16,
                    max_seconds=_LONGEST_FILE,
                    timeout=2 * _LONGEST_FILE,
                    report=report,
                ):
                    data = rest + samples.astype("<i2").tobytes()
                    whole = len(data) - len(data) % _BLOCK
                    for at in range(0, whole, _BLOCK):
                        yield data[at : at + _BLOCK]
                    rest = data[whole:]
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}") from error
        except (DecodeError, AudioTooLong) as error:
            raise SourceError(f"{path}: {error}") from error
        if rest:
            yield rest
        if report.lost_seconds:
            raise SourceError(f"{path} was cut off: the last {report.lost_seconds:.1f} s are lost")

    return blocks()


async def stdin_blocks(number: int = 0) -> AsyncGenerator[bytes]:
    """Raw samples from the file descriptor `number`, as they arrive. Raises SourceError."""
    if sys.stdin is None:  # its number may have been reused for another file
        raise SourceError("stdin is closed")
    try:
        kind = os.fstat(number).st_mode
        if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) or os.isatty(number):
            async with aclosing(_pipe_blocks(number)) as blocks:
                async for block in blocks:
                    yield block
        else:  # asyncio cannot wait for files and devices
            while block := await asyncio.to_thread(os.read, number, _BLOCK):
                yield block
    except OSError as error:
        raise SourceError(f"stdin cannot be read: {error.strerror}") from error


async def _pipe_blocks(number: int) -> AsyncGenerator[bytes]:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    with os.fdopen(os.dup(number), "rb", buffering=0) as pipe:
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            rest = b""
            while data := await reader.read(_BLOCK):
                data = rest + data
                whole = len(data) - len(data) % 2
                if whole:
                    yield data[:whole]
                rest = data[whole:]
        finally:
            transport.close()


async def microphone_blocks(device: str | None) -> AsyncGenerator[bytes]:
    """The audio of a microphone, indefinitely.

    Args:
        device: its number or a part of its name; None for the system's default.

    Raises:
        SourceError: it cannot be opened, or the server is too far behind.
    """
    sounddevice = _sounddevice()
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[bytes] = asyncio.Queue()

    def hear(data: Any, frames: int, time: Any, status: Any) -> None:
        loop.call_soon_threadsafe(waiting.put_nowait, bytes(data))

    try:
        stream = sounddevice.RawInputStream(
            samplerate=SAMPLE_RATE,
            channels=1,
            dtype="int16",
            blocksize=_BLOCK // 2,
            device=int(device) if device and device.isdecimal() else device,
            callback=hear,
        )
        with stream:
            while waiting.qsize() * BLOCK_SECONDS < MAX_WAITING_SECONDS:
                yield await waiting.get()
    except (sounddevice.PortAudioError, ValueError) as error:
        raise SourceError(
            f"the microphone cannot be opened: {error}; see --list-devices"
        ) from error
    raise SourceError(f"the server is more than {MAX_WAITING_SECONDS:g} s behind the microphone")


def microphones() -> list[str]:
    """Number and name of each microphone. Raises SourceError."""
    sounddevice = _sounddevice()
    found = [
        f"{number}\t{device['name']}"
        for number, device in enumerate(sounddevice.query_devices())
        if device["max_input_channels"]
    ]
    if not found:
        raise SourceError("this machine has no microphone")
    return found


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise SourceError(_NO_LIBRARY) from error
    except OSError as error:
        raise SourceError(_NO_PORTAUDIO) from error
    return sounddevice


async def paced(blocks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """`blocks` at real-time pace: each one when its audio ends."""
    began = time.monotonic()
    sent = 0
    async with aclosing(blocks):
        async for block in blocks:
            sent += len(block)
            await asyncio.sleep(began + sent / BYTES_PER_SECOND - time.monotonic())
            yield block


async def until(stop: asyncio.Event, blocks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """`blocks` until they end or `stop` is set."""
    stopping = asyncio.ensure_future(stop.wait())
    try:
        async with aclosing(blocks):
            while not stop.is_set():
                following = asyncio.ensure_future(anext(blocks, None))
                try:
                    await asyncio.wait((following, stopping), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not following.done():
                        following.cancel()
                        await asyncio.wait((following,))
                if following.cancelled() or (block := following.result()) is None:
                    return
                yield block
    finally:
        stopping.cancel()
