"""The worker processes of the light recognizer as the proxy sees them."""

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
"""Recordings in one worker at the same time, each with up to about 20 MB."""
START_SECONDS = 120.0
"""In which the models have loaded on a busy machine; two seconds on an idle one."""
MOST_WORKERS = 8
"""Unless a number is given: each takes up to 370 MB."""
READY_SECONDS = 0.05
"""Between two looks whether a worker is ready."""
HANG_SECONDS = 60.0
"""A block of audio, or a turn, takes a second."""


EMBEDDED_AT_ONCE = 2
"""Pieces of recordings on their way to a worker: one at work, and the next one."""


class LightFailed(Exception):
    """A recording could not be recognized; another attempt would fail as well."""


class LightPool:
    """Recognizes recordings, and embeds voices, in the process that has least to do."""

    def __init__(
        self,
        workers: tuple[WorkerProcess, ...],
        *,
        start_timeout: float = START_SECONDS,
        start: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`start` starts the workers when the first voice is to be embedded; None where they are
        started already. `start_timeout`: seconds that embedding waits for one of them."""
        self.workers = workers
        self._start = start
        self._start_timeout = start_timeout
        self._embeddings = asyncio.Semaphore(EMBEDDED_AT_ONCE * len(workers))

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
        """The voices in `samples`, shape (samples,), mono, 16 kHz: speech of at most some seconds,
        since it takes its turn between parts of other recordings. Recordings that wait for a place
        do not delay it. Waits for a worker that is being started.

        Raises WorkerLost when there is no worker, or it is lost, and LightFailed when it fails.
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
            raise LightFailed(f"A voice could not be compared: {message.fields['message']}.")
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
        """A live conversation in one of the processes, until the block ends; see `LiveListener`. It
        takes no place of a recording.

        Raises WorkerLost when no worker is ready.
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
    """A command of a conversation is done, and all its events have come."""

    command: str
    """`audio`, `update`, `commit`, `clear`; `preview` comes by itself."""


class Conversation:
    """A live conversation in a worker."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def feed(self, samples: NDArray[np.float32]) -> None:
        """Go on with `samples`, shape (samples,), mono, 16 kHz, of full scale 1.0. Whoever calls
        sees to it that not too much is on the way."""
        self._exchange.send(Message("audio", samples=samples))

    def update(self, detection: Detection | None, interval: float) -> None:
        """Go on with other parameters; see `listen`."""
        self._exchange.send(Message("update", {**_fields(detection), "interval": interval}))

    def commit(self) -> None:
        """End the open utterance."""
        self._exchange.send(Message("commit"))

    def clear(self) -> None:
        """Forget the open utterance."""
        self._exchange.send(Message("clear"))

    async def receive(self) -> LiveEvent | Heard:
        """What happens next. Raises WorkerLost when the process is lost, LightFailed when it cannot
        go on with this conversation."""
        message = await self._exchange.receive()
        if message.kind == "failure":
            raise LightFailed(f"The recognizer failed: {message.fields['message']}.")
        if message.kind == "heard":
            return Heard(message.fields["of"])
        return from_fields(message.fields)


def _fields(detection: Detection | None) -> dict[str, Any]:
    return {"detection": asdict(detection) if detection else None}


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
    """A worker that embeds voices and cannot recognize; it is started when it is first needed, and
    runs until the block ends."""
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
