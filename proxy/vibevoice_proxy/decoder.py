"""Uploads decoded in threads, a bounded number at a time."""

from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar

import numpy as np
from anyio import CapacityLimiter, from_thread, to_thread
from numpy.typing import NDArray

from vibevoice_core.decode import DecodeError, decode
from vibevoice_proxy.errors import InvalidAudio

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

        `consume` sees `vibevoice_core.decode.DecodeError` and may raise an error of its own for
        it. Raises InvalidAudio for any other one, and whatever `consume` raises. Cancelling the
        call stops the thread at the next packet.
        """

        def work() -> T:
            blocks = decode(
                source,
                np.int16,
                max_seconds=max_seconds,
                timeout=self._timeout,
                check_cancelled=from_thread.check_cancelled,
            )
            try:
                return consume(blocks)
            except DecodeError as error:
                raise InvalidAudio(str(error), code=error.code) from error

        return await to_thread.run_sync(work, limiter=self._limiter)
