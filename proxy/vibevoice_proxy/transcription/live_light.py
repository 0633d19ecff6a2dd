"""Runs a live conversation with the light recognizer, in a worker of its pool."""

import asyncio
from collections.abc import AsyncGenerator

import numpy as np
from anyio import to_thread
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.worker_process import WorkerLost
from vibevoice_light import SAMPLE_RATE as LIGHT_RATE
from vibevoice_light import (
    Conversation,
    Heard,
    LightFailed,
    LightPool,
)
from vibevoice_light import LiveEvent as LightEvent
from vibevoice_proxy.errors import ProxyError, UpstreamError, UpstreamUnavailable
from vibevoice_proxy.live import (
    Cleared,
    Interrupted,
    LiveEvent,
    LiveOptions,
)
from vibevoice_proxy.transcription.light_turns import LightTurns

MAX_UNHEARD_SECONDS = 20.0
"""Maximum audio in flight to the worker; beyond it, the client waits."""
MAX_COMMANDS = 1000
"""Maximum audio blocks and commands in flight to the worker; beyond it, the client waits."""
BLOCK_SECONDS = 1.0
"""Maximum audio sent to the worker at once, so its conversations can alternate."""
READY_SECONDS = 0.1
"""Polling interval while waiting for a worker."""


class LightStream:
    """One conversation; see `LiveStream`."""

    def __init__(self, pool: LightPool, options: LiveOptions) -> None:
        self._pool = pool
        self._options = options
        self._resampler = AudioResampler(format="flt", layout="mono", rate=LIGHT_RATE)
        self._conversation: Conversation | None = None
        self._changed = asyncio.Condition()
        """Notified when audio was processed and when a conversation was opened."""
        self._unheard: list[int] = []
        """Number of samples in each block in flight."""
        self._fed = 0
        """Number of samples sent to workers."""
        self._commands: list[str] = []
        """`commit`, `clear` and `update` commands in flight."""
        self._turns = LightTurns()

    async def feed(self, samples: NDArray[np.int16]) -> None:
        """See `LiveStream.feed`."""
        block = round(BLOCK_SECONDS * LIGHT_RATE)
        resampled = await to_thread.run_sync(self._resample, samples)
        for at in range(0, len(resampled), block):
            conversation = await self._ready()
            part = resampled[at : at + block]
            self._unheard.append(len(part))
            self._fed += len(part)
            conversation.feed(part)

    async def commit(self) -> None:
        """See `LiveStream.commit`."""
        conversation = await self._ready()
        self._commands.append("commit")
        conversation.commit()

    async def clear(self) -> None:
        """See `LiveStream.clear`."""
        conversation = await self._ready()
        self._commands.append("clear")
        conversation.clear()

    async def update(self, options: LiveOptions) -> None:
        """See `LiveStream.update`."""
        before, self._options = self._options, options
        wanted = options.detection, options.interval
        if self._conversation and wanted != (before.detection, before.interval):
            conversation = await self._ready()
            self._commands.append("update")
            conversation.update(*wanted)

    async def catch_up(self) -> None:
        """See `LiveStream.catch_up`."""
        async with self._changed:
            # a command is complete once all its events were received
            await self._changed.wait_for(lambda: not self._unheard and not self._commands)

    async def events(self) -> AsyncGenerator[LiveEvent]:
        """See `LiveStream.events`."""
        while True:
            turns = self._turns = self._turns.following(self._fed / LIGHT_RATE)
            options = self._options
            try:
                async with self._pool.listen(
                    options.detection, turns.speakers, options.interval
                ) as conversation:
                    await self._set(conversation)
                    while True:
                        async for event in self._take(await conversation.receive()):
                            yield event
            except WorkerLost as error:
                lost: ProxyError = UpstreamUnavailable(str(error))
            except LightFailed as error:
                lost = UpstreamError(str(error))
            if self._conversation:
                for event in await self._lose(lost):
                    yield event
            await asyncio.sleep(READY_SECONDS)

    async def _take(self, found: LightEvent | Heard) -> AsyncGenerator[LiveEvent]:
        if not isinstance(found, Heard):
            for event in self._turns.translate(found):
                yield event
            return
        if found.command == "audio":
            async with self._changed:
                self._unheard.pop(0)
                self._changed.notify_all()
        elif found.command != "preview":
            if found.command == "clear":
                self._turns.clear()
                yield Cleared()
            async with self._changed:
                self._commands.pop(0)
                self._changed.notify_all()

    async def _lose(self, error: ProxyError) -> list[LiveEvent]:
        """The events that report a lost worker to the client."""
        # The next worker starts with the current options.
        commands = [command for command in self._commands if command != "update"]
        async with self._changed:
            self._conversation = None
            self._unheard.clear()
            self._commands.clear()
            self._changed.notify_all()
        seconds = self._fed / LIGHT_RATE
        events = self._turns.fail(error, seconds, commands)
        return events or [Interrupted(error)]

    async def _set(self, conversation: Conversation) -> None:
        async with self._changed:
            self._conversation = conversation
            self._changed.notify_all()

    async def _ready(self) -> Conversation:
        """Wait until the conversation accepts more commands, and return it."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._conversation and self._has_room())
        assert self._conversation is not None
        return self._conversation

    def _has_room(self) -> bool:
        is_short = len(self._unheard) + len(self._commands) < MAX_COMMANDS
        return is_short and sum(self._unheard) < MAX_UNHEARD_SECONDS * LIGHT_RATE

    def _resample(self, samples: NDArray[np.int16]) -> NDArray[np.float32]:
        frame = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        parts = [out.to_ndarray()[0] for out in self._resampler.resample(frame)]
        return np.concatenate([*parts, np.zeros(0, np.float32)])
