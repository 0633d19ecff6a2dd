"""How many requests are served at once."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from vibevoice_proxy.errors import TooManyRequests


class Admission:
    """At most `max_concurrency` requests in flight and `max_queue` waiting for a place, each for at
    most `timeout` seconds; first come, first served."""

    def __init__(self, max_concurrency: int, max_queue: int, timeout: float) -> None:
        self._places = anyio.Semaphore(max_concurrency, max_value=max_concurrency)
        self._max_concurrency = max_concurrency
        self._max_queue = max_queue
        self._timeout = timeout

    @property
    def in_flight(self) -> int:
        """Requests being served."""
        return self._max_concurrency - self._places.value

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._places.statistics().tasks_waiting

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None]:
        """A place among the requests in flight, for as long as the block lasts.

        To be taken before the body is read, so that whoever is turned away is told at once. Raises
        TooManyRequests when the queue is full, or when no place became free in time.
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
