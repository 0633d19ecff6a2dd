"""Changes of the options during a conversation, from the session to the listener."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from vibevoice_core.messages import Message
from vibevoice_core.worker_process import Exchange
from vibevoice_light import Conversation, Detection, LightPool
from vibevoice_light.live import LiveListener
from vibevoice_light.live_request import LiveRequest
from vibevoice_light.utterances import Utterances
from vibevoice_proxy.live import LiveOptions
from vibevoice_proxy.transcription.live_light import MAX_COMMANDS, LightStream

FRAME, RATE = 512, 16_000


class Worker:
    """An `Exchange` with a request in this process, for which all audio is speech."""

    def __init__(self, options: LiveOptions) -> None:
        self._request = LiveRequest(
            LiveListener(
                cast(Any, SimpleNamespace(feed=lambda s: np.full(len(s) // FRAME, 0.9, "f4"))),
                cast(Any, None),
                cast(Any, None),
                Utterances(options.detection),
                first_speaker=0,
                interval=options.interval,
            )
        )

    @property
    def wants_preview(self) -> bool:
        return self._request.wants_preview

    def send(self, message: Message) -> None:
        self._request.add(message)
        list(self._request.step())

    async def receive(self) -> Message:
        return await asyncio.Future()


@asynccontextmanager
async def open_stream(options: LiveOptions) -> AsyncIterator[tuple[LightStream, Worker]]:
    """A stream, and the worker that it uses."""
    worker = Worker(options)

    @asynccontextmanager
    async def listen(*_: Any) -> AsyncIterator[Conversation]:
        yield Conversation(cast(Exchange, worker))

    stream = LightStream(cast(LightPool, SimpleNamespace(listen=listen)), options)
    events = asyncio.ensure_future(anext(stream.events()))
    yield stream, worker
    events.cancel()
    with suppress(asyncio.CancelledError):
        await events


async def test_a_delay_that_changes() -> None:
    """From then on, the open turn is decoded at the new interval."""
    async with open_stream(LiveOptions(detection=Detection(), interval=4.0)) as (stream, worker):
        await stream.feed(np.zeros(24_000, np.int16))
        assert not worker.wants_preview
        await stream.update(LiveOptions(detection=Detection(), interval=0.5))
        assert worker.wants_preview


async def test_updates_wait_for_a_worker_that_is_behind() -> None:
    """A client cannot fill the worker's queue with changes, as with audio and commits."""
    async with open_stream(LiveOptions(detection=Detection())) as (stream, _):
        await stream.feed(np.zeros(240, np.int16))
        for number in range(MAX_COMMANDS - 1):
            await stream.update(LiveOptions(detection=Detection(), interval=1.0 + number % 2))
        waiting = asyncio.ensure_future(stream.update(LiveOptions(interval=3.0)))
        done, _pending = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        waiting.cancel()
