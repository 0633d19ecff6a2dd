"""The proxy's interface to the worker processes of the light recognizer."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vibevoice_core.messages import Message
from vibevoice_core.worker_process import Exchange, WorkerLost, WorkerProcess, running
from vibevoice_light.embeddings import Window
from vibevoice_light.live_events import LiveEvent, from_fields
from vibevoice_light.moonshine import Token
from vibevoice_light.segments import Segment
from vibevoice_light.utterances import Detection

CAPACITY = 16
"""Maximum concurrent recordings per worker; each takes up to about 20 MB."""
START_SECONDS = 120.0
"""Enough to load the models on a busy machine; an idle one needs two seconds."""
MOST_WORKERS = 8
"""Limit for the default number of workers; each takes up to 370 MB."""
READY_SECONDS = 0.05
"""Polling interval while waiting for a worker."""
HANG_SECONDS = 60.0
"""A block of audio or a turn takes about a second."""


EMBEDDED_AT_ONCE = 2
"""Maximum embedding requests per worker: one in progress, one queued."""


class LightFailed(Exception):
    """A recording could not be recognized; a retry would fail as well."""


class LightPool:
    """Recognizes recordings and embeds voices in the least busy worker process."""

    def __init__(
        self,
        workers: tuple[WorkerProcess, ...],
        *,
        start_timeout: float = START_SECONDS,
        start: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`start`: starts the workers on the first call of `embed`; None if they are already
        running. `start_timeout`: seconds that `embed` waits for a worker."""
        self.workers = workers
        self._start = start
        self._start_timeout = start_timeout
        self._embeddings = asyncio.Semaphore(EMBEDDED_AT_ONCE * len(workers))

    @property
    def is_ready(self) -> bool:
        """Whether a worker is ready."""
        return any(worker.is_ready for worker in self.workers)

    @property
    def unready_message(self) -> str:
        """Why no recording can be recognized now, worded for clients."""
        return self.workers[0].unready_message

    @property
    def restarts(self) -> int:
        """Number of worker restarts."""
        return sum(worker.restarts for worker in self.workers)

    async def recognize(
        self, blocks: AsyncIterable[NDArray[np.float32]], lookahead: float
    ) -> AsyncGenerator[Segment]:
        """Yield the segments of a recording that arrives in `blocks`, shape (samples,), mono, 16
        kHz. Reads a block only after the previous one is recognized. Close the iterator to stop.

        Raises WorkerLost if no worker is ready or the worker dies, LightFailed if recognition
        fails.
        """
        async with self._least_busy().exchange() as exchange:
            first = {"lookahead": lookahead}
            async for block in blocks:
                exchange.send(Message("audio", first, block))
                first = {}
                async for segment in _segments(exchange, "heard"):
                    yield segment
            exchange.send(Message("finish", first))
            async for segment in _segments(exchange, "end"):
                yield segment

    async def embed(self, samples: NDArray[np.float32]) -> list[Window]:
        """Embed the voices in `samples`, shape (samples,), mono, 16 kHz. Pass a few seconds of
        speech at most: the worker interleaves this work with other recordings. Bypasses the queue
        of recordings, and waits for a worker that is starting.

        Raises WorkerLost if no worker is available or the worker dies, LightFailed if embedding
        fails.
        """
        async with self._embeddings:
            if self._start:
                start, self._start = self._start, None
                await start()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._one_ready(), self._start_timeout)
            async with self._least_busy().exchange(waits=False) as exchange:
                exchange.send(Message("embed", samples=samples))
                message = await exchange.receive()
        if message.kind == "failure":
            raise LightFailed(f"Could not compare a voice: {message.fields['message']}.")
        starts, ends = message.fields["starts"], message.fields["ends"]
        vectors = message.samples.reshape(len(starts), -1) if starts else ()
        return [Window(*window) for window in zip(starts, ends, vectors, strict=True)]

    async def _one_ready(self) -> None:
        while not any(worker.is_ready for worker in self.workers):
            await asyncio.sleep(READY_SECONDS)

    @asynccontextmanager
    async def listen(
        self, detection: Detection | None, first_speaker: int, interval: float
    ) -> AsyncGenerator["Conversation"]:
        """Open a live conversation in one of the workers until the block ends; see `LiveListener`.
        It does not count toward the worker's capacity.

        Raises WorkerLost if no worker is ready.
        """
        async with self._least_busy().exchange(waits=False) as exchange:
            options = {"first_speaker": first_speaker, "interval": interval}
            exchange.send(Message("listen", {**_fields(detection), **options}))
            yield Conversation(exchange)

    def _least_busy(self) -> WorkerProcess:
        ready = [worker for worker in self.workers if worker.is_ready]
        if not ready:
            raise WorkerLost(self.unready_message)
        return min(ready, key=lambda worker: worker.wanted)


class Heard(NamedTuple):
    """A command of a conversation is complete, and all its events were received."""

    command: str
    """`audio`, `update`, `commit` or `clear`; also `preview`, which the worker starts itself."""


class Conversation:
    """A live conversation in a worker."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def feed(self, samples: NDArray[np.float32]) -> None:
        """Send `samples`, shape (samples,), mono, 16 kHz, full scale 1.0. The caller limits how
        much audio is in flight."""
        self._exchange.send(Message("audio", samples=samples))

    def update(self, detection: Detection | None, interval: float) -> None:
        """Change the parameters; see `listen`."""
        self._exchange.send(Message("update", {**_fields(detection), "interval": interval}))

    def commit(self) -> None:
        """End the open utterance."""
        self._exchange.send(Message("commit"))

    def clear(self) -> None:
        """Discard the open utterance."""
        self._exchange.send(Message("clear"))

    async def receive(self) -> LiveEvent | Heard:
        """Wait for the next event. Raises WorkerLost if the process dies, LightFailed if it cannot
        continue this conversation."""
        message = await self._exchange.receive()
        if message.kind == "failure":
            raise LightFailed(f"The recognizer failed: {message.fields['message']}.")
        if message.kind == "heard":
            return Heard(message.fields["of"])
        return from_fields(message.fields)


def _fields(detection: Detection | None) -> dict[str, Any]:
    return {"detection": asdict(detection) if detection else None}


async def _segments(exchange: Exchange, last: str) -> AsyncIterator[Segment]:
    """Yield the segments received before the message `last`."""
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
    """Keep this many workers alive until the block ends; they may not be ready yet. 0 means one per
    core, at most MOST_WORKERS. `folder` contains Moonshine's files."""
    count = workers or min(MOST_WORKERS, len(os.sched_getaffinity(0)))
    processes = tuple(
        _process("light", str(folder), start_timeout, hang_timeout) for _ in range(count)
    )
    async with running(*processes):
        yield LightPool(processes, start_timeout=start_timeout)


@asynccontextmanager
async def open_voices(
    start_timeout: float = START_SECONDS, hang_timeout: float = HANG_SECONDS
) -> AsyncIterator[LightPool]:
    """Provide a worker that only embeds voices. It starts on first use and runs until the block
    ends."""
    process = _process("speakers", "", start_timeout, hang_timeout)
    async with AsyncExitStack() as stack:

        async def start() -> None:
            await stack.enter_async_context(running(process))

        yield LightPool((process,), start_timeout=start_timeout, start=start)


def _process(name: str, folder: str, start_timeout: float, hang_timeout: float) -> WorkerProcess:
    return WorkerProcess(
        name,
        "vibevoice_light.worker",
        folder,
        capacity=CAPACITY,
        start_timeout=start_timeout,
        hang_timeout=hang_timeout,
    )
