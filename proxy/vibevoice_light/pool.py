"""The worker processes of the light recognizer as the proxy sees them."""

import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vibevoice_core.messages import Message
from vibevoice_core.worker_process import Exchange, WorkerLost, WorkerProcess, running
from vibevoice_light.moonshine import Token
from vibevoice_light.recognizer import Segment

CAPACITY = 16
"""Recordings in one worker at the same time, each with up to about 20 MB."""
START_SECONDS = 120.0
"""In which the models have loaded on a busy machine; two seconds on an idle one."""
MOST_WORKERS = 8
"""Unless a number is given: each takes up to 370 MB."""
HANG_SECONDS = 60.0
"""A block of audio, or a turn, takes a second."""


class LightFailed(Exception):
    """A recording could not be recognized; another attempt would fail as well."""


class LightPool:
    """Recognizes recordings in the process that has least to do."""

    def __init__(self, workers: tuple[WorkerProcess, ...]) -> None:
        self.workers = workers

    @property
    def is_ready(self) -> bool:
        """Whether requests are served at once."""
        return any(worker.is_ready for worker in self.workers)

    @property
    def unready_message(self) -> str:
        """Why nothing can be recognized now, for clients."""
        return self.workers[0].unready_message

    @property
    def restarts(self) -> int:
        """How often a worker was lost and another one started."""
        return sum(worker.restarts for worker in self.workers)

    async def recognize(
        self, blocks: AsyncIterable[NDArray[np.float32]], lookahead: float
    ) -> AsyncGenerator[Segment]:
        """The segments of a recording that comes in `blocks`, shape (samples,), mono, 16 kHz. The
        next block is taken when the one before is recognized. Close the iterator to stop the work.

        Raises WorkerLost when no worker is ready or the one at work is lost, LightFailed when it
        fails.
        """
        ready = [worker for worker in self.workers if worker.is_ready]
        if not ready:
            raise WorkerLost(self.unready_message)
        worker = min(ready, key=lambda worker: worker.wanted)
        async with worker.exchange() as exchange:
            first = {"lookahead": lookahead}
            async for block in blocks:
                exchange.send(Message("audio", first, block))
                first = {}
                async for segment in _segments(exchange, "heard"):
                    yield segment
            exchange.send(Message("finish", first))
            async for segment in _segments(exchange, "end"):
                yield segment


async def _segments(exchange: Exchange, last: str) -> AsyncIterator[Segment]:
    """The segments that come before the message `last`."""
    while (message := await exchange.receive()).kind != last:
        fields = {key: value for key, value in message.fields.items() if key != "id"}
        if message.kind == "failure":
            raise LightFailed(f"The recording could not be recognized: {fields['message']}.")
        tokens = tuple(Token(*token) for token in fields.pop("tokens"))
        yield Segment(**fields, tokens=tokens)


@asynccontextmanager
async def open_pool(
    folder: Path,
    workers: int = 0,
    *,
    start_timeout: float = START_SECONDS,
    hang_timeout: float = HANG_SECONDS,
) -> AsyncIterator[LightPool]:
    """So many workers that are kept alive until the block ends; they may not be ready yet. 0 means
    one for each core, MOST_WORKERS at most. `folder` holds Moonshine's files."""
    processes = tuple(
        WorkerProcess(
            "light",
            "vibevoice_light.worker",
            str(folder),
            capacity=CAPACITY,
            start_timeout=start_timeout,
            hang_timeout=hang_timeout,
        )
        for _ in range(workers or min(MOST_WORKERS, len(os.sched_getaffinity(0))))
    )
    async with running(*processes):
        yield LightPool(processes)
