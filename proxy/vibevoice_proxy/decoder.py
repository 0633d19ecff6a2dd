"""Decodes uploads in a limited number of threads."""

from collections.abc import Callable, Iterator
from contextlib import closing
from traceback import clear_frames
from typing import BinaryIO, TypeVar

import numpy as np
from anyio import CapacityLimiter, from_thread, to_thread
from numpy.typing import NDArray

from vibevoice_core.decode import Report, decode
from vibevoice_core.errors import DecodeError
from vibevoice_proxy.errors import InvalidAudio

QUIET_PEAK = 0.01
"""Peak relative to full scale, -40 dBFS. Below it, 16 bits lose too much of a recording with a
higher resolution."""
QUIET_GAIN_PEAK = 0.25
"""Such a recording is amplified to this peak; the engine normalizes the level of all recordings."""
FINE_STEP = 2.0**-23
"""Quantization step of 24-bit samples."""

T = TypeVar("T")


class AudioDecoder:
    """Decodes at most `concurrency` uploads at once, each within `timeout` seconds."""

    def __init__(self, concurrency: int, timeout: float) -> None:
        self._limiter = CapacityLimiter(concurrency)
        self._timeout = timeout

    async def run(
        self,
        source: BinaryIO,
        max_seconds: float,
        consume: Callable[[Iterator[NDArray[np.int16]]], T],
    ) -> tuple[T, float]:
        """Call `consume` in a thread with the audio of `source`. The audio comes in blocks of mono
        24 kHz samples, shape (samples,), at most `max_seconds` in total. Return the result of
        `consume` and the seconds missing at the end of the file; 0 unless it was cut off.

        A very quiet recording with more than 16 bits is decoded again with gain, and `consume` is
        called a second time. `consume` sees DecodeErrors and may raise its own error for them; any
        other DecodeError is raised as InvalidAudio. Raises whatever `consume` raises. Cancelling
        the call stops the thread at the next packet.
        """

        def attempt(gain: float, report: Report) -> T:
            blocks = decode(
                source,
                np.int16,
                max_seconds=max_seconds,
                timeout=self._timeout,
                check_cancelled=from_thread.check_cancelled,
                gain=gain,
                report=report,
            )
            try:
                with closing(blocks):
                    return consume(blocks)
            except BaseException as error:
                # anyio keeps the error in a future that the error's traceback references. Until the
                # garbage collector finds that cycle, FFmpeg's decoder would stay in memory: up to
                # 27 MiB.
                clear_frames(error.__traceback__)
                if isinstance(error, DecodeError):
                    raise InvalidAudio(str(error), code=error.code) from error
                raise

        def work() -> tuple[T, float]:
            report = Report()
            result = attempt(1.0, report)
            levels = report.levels
            if levels.is_fine and 3 * FINE_STEP < levels.peak < QUIET_PEAK:
                result = attempt(QUIET_GAIN_PEAK / levels.peak, Report())
            return result, report.lost_seconds

        return await to_thread.run_sync(work, limiter=self._limiter)
