"""Uploads decoded in threads, a bounded number at a time."""

from collections.abc import Callable, Iterator
from contextlib import closing
from traceback import clear_frames
from typing import BinaryIO, TypeVar

import numpy as np
from anyio import CapacityLimiter, from_thread, to_thread
from numpy.typing import NDArray

from vibevoice_core.decode import decode
from vibevoice_core.errors import DecodeError
from vibevoice_core.resampling import Levels
from vibevoice_proxy.errors import InvalidAudio

QUIET_PEAK = 0.01
"""Of full scale, -40 dBFS: below it 16 bits keep too little of a recording that is stored finer."""
QUIET_GAIN_PEAK = 0.25
"""The peak to which such a recording is raised; the engine levels all recordings itself."""
FINE_STEP = 2.0**-23
"""Of 24-bit samples."""

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
    ) -> T:
        """The result of `consume`, called in a thread with the audio of `source`: blocks of mono
        24 kHz samples, shape (samples,), at most `max_seconds` in all.

        A very quiet recording of more than 16 bits is decoded a second time, louder, and `consume`
        called again. `consume` sees DecodeErrors and may raise an error of its own for them. Raises
        InvalidAudio for any other one, and whatever `consume` raises. Cancelling the call stops the
        thread at the next packet.
        """

        def attempt(gain: float, levels: Levels) -> T:
            blocks = decode(
                source,
                np.int16,
                max_seconds=max_seconds,
                timeout=self._timeout,
                check_cancelled=from_thread.check_cancelled,
                gain=gain,
                levels=levels,
            )
            try:
                with closing(blocks):
                    return consume(blocks)
            except BaseException as error:
                # anyio keeps the error in a future that the error's traceback refers to. Until the
                # garbage collector finds that cycle, it would hold FFmpeg's decoder: up to 27 MiB.
                clear_frames(error.__traceback__)
                if isinstance(error, DecodeError):
                    raise InvalidAudio(str(error), code=error.code) from error
                raise

        def work() -> T:
            levels = Levels()
            result = attempt(1.0, levels)
            if levels.is_fine and 3 * FINE_STEP < levels.peak < QUIET_PEAK:
                result = attempt(QUIET_GAIN_PEAK / levels.peak, Levels())
            return result

        return await to_thread.run_sync(work, limiter=self._limiter)
