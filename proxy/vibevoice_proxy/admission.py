"""Limits the number of concurrent requests."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from vibevoice_proxy.errors import TooManyRequests


class Admission:
    """Admits at most `max_concurrency` requests at once and queues up to `max_queue` more in FIFO
    order, each for at most `timeout` seconds."""

    def __init__(self, max_concurrency: int, max_queue: int, timeout: float) -> None:
        self._places = anyio.Semaphore(max_concurrency, max_value=max_concurrency)
        self._max_concurrency = max_concurrency
        self._max_queue = max_queue
        self._timeout = timeout

    @property
    def in_flight(self) -> int:
        """Number of requests being served."""
        return self._max_concurrency - self._places.value

    @property
    def waiting(self) -> int:
        """Number of requests in the queue."""
        return self._places.statistics().tasks_waiting

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None]:
        """Hold a slot until the block ends. Enter it before reading the body, so rejected clients
        get a response immediately. Raises TooManyRequests if the queue is full or no slot becomes
        free in time.
        """
        if self._places.value == 0 and self.waiting >= self._max_queue:
            raise TooManyRequests
        try:
            with anyio.fail_after(self._timeout):
                await self._places.acquire()
        except TimeoutError:
            raise TooManyRequests from None
        try:
            yield
        finally:
            self._places.release()
