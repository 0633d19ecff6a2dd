"""The input side of a session: turns the client's audio into items of the conversation."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from time import monotonic

import numpy as np
from anyio import to_thread
from numpy.typing import NDArray

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_proxy import live
from vibevoice_proxy.live import LiveEvent, LiveOptions, LiveRecognition, LiveStream
from vibevoice_proxy.realtime.client_events import (
    AudioAppend,
    AudioClear,
    AudioCommit,
    InvalidEvent,
)
from vibevoice_proxy.realtime.input_audio import InputAudio, duration
from vibevoice_proxy.realtime.items import Items
from vibevoice_proxy.realtime.metrics import RealtimeMetrics

MIN_COMMIT_SECONDS = 0.1
"""Minimum length of a committed turn (OpenAI's limit)."""

ARRIVAL_SECONDS = 0.1
"""Resolution of the recorded arrival times."""
MAX_ARRIVALS = 10_000
"""More arrival times than any turn needs."""

OnEvent = Callable[[LiveEvent, str], Awaitable[None]]
"""Called with every event of a turn and the id of its item, after the event was sent."""


class Hearing:
    """The input side of one session. Call `append`, `commit`, `clear`, `configure` and `finish`
    from one task, and `run` from another."""

    def __init__(
        self,
        recognition: LiveRecognition,
        items: Items,
        metrics: RealtimeMetrics,
        *,
        session_id: str,
        max_buffer_seconds: float,
    ) -> None:
        """`max_buffer_seconds`: maximum uncommitted audio if the client commits its turns."""
        self._recognition = recognition
        self._items = items
        self._metrics = metrics
        self._session_id = session_id
        self._max_buffer_seconds = max_buffer_seconds
        self._audio = InputAudio()
        self._media_type = "audio/pcm"
        self._options = LiveOptions()
        self._model = ""
        """Name of the selected model."""
        self._has_begun = asyncio.Event()
        """Set by the first audio; the model can change until then."""
        self._stream: asyncio.Future[LiveStream] = asyncio.get_running_loop().create_future()
        self.last_speech_at = 0.0
        """Arrival time of the last speech in the latest ended turn (monotonic)."""
        self._fed = self._taken = 0.0
        """Seconds of audio received, and seconds that belong to turns or were cleared."""
        self._is_speaking = False
        """Whether a turn started by voice activity is open."""
        self._arrivals: deque[tuple[float, float]] = deque(maxlen=MAX_ARRIVALS)
        """(seconds received, arrival time) of audio whose turn has not ended."""

    async def configure(
        self, options: LiveOptions, media_type: str, *, with_logprobs: bool, event_id: str | None
    ) -> None:
        """Change the configuration. Audio that the client has not committed becomes a turn if turn
        detection is switched on. Raises InvalidEvent, ModelNotFound or InvalidRequest without
        changing anything."""
        model = self._recognition.check(options)
        if self._has_begun.is_set() and model != self._model:
            raise InvalidEvent(
                "The transcription model cannot change after audio was received.",
                param="session.audio.input.transcription.model",
                code="model_cannot_change",
                event_id=event_id,
            )
        if options.detection and self._has_uncommitted:
            self._taken = self._fed
            await (await self._stream).commit()
        if self._options.detection and options.detection is None:
            self._taken = self._fed  # there was no uncommitted audio until now
        self._options = options
        self._model = model
        self._media_type = media_type
        self._items.with_logprobs = with_logprobs
        if self._has_begun.is_set():
            await (await self._stream).update(options)

    async def append(self, event: AudioAppend) -> None:
        """Process audio; wait while the recognizer is too far behind. Raises InvalidEvent."""
        waiting = self._fed - self._taken + duration(event.audio, self._media_type)
        if self._options.detection is None and waiting > self._max_buffer_seconds:
            raise InvalidEvent(
                f"The input audio buffer is limited to {self._max_buffer_seconds:g} "
                "seconds; commit or clear it.",
                param="audio",
                code="input_audio_buffer_full",
                event_id=event.event_id,
            )
        parts = await to_thread.run_sync(
            self._audio.decode, event.audio, self._media_type, event.event_id
        )
        while (samples := await to_thread.run_sync(next, parts, None)) is not None:
            await self._feed(samples)

    async def commit(self, event: AudioCommit) -> None:
        """End the turn now. Raises InvalidEvent if there is not enough audio."""
        waiting = self._fed - self._taken
        if waiting < MIN_COMMIT_SECONDS:
            raise InvalidEvent(
                "The input audio buffer is too small to commit: it contains "
                f"{1000 * waiting:.0f} ms, "
                f"expected at least {1000 * MIN_COMMIT_SECONDS:.0f} ms.",
                code="input_audio_buffer_commit_empty",
                event_id=event.event_id,
            )
        self._taken = self._fed
        await (await self._open()).commit()

    async def clear(self, _: AudioClear) -> None:
        """Discard uncommitted audio."""
        if not self._has_begun.is_set():
            await self._items.tell(live.Cleared())
            return
        self._taken = self._fed
        await (await self._open()).clear()

    async def finish(self) -> None:
        """End the open turn and wait until the events of all turns were sent."""
        if not self._has_begun.is_set():
            return
        stream = await self._stream
        await stream.catch_up()
        if self._has_uncommitted or self._is_speaking:
            await stream.commit()
            await stream.catch_up()

    @property
    def _has_uncommitted(self) -> bool:
        """Whether there is enough audio for a turn that the client has to commit."""
        is_enough = self._fed - self._taken >= MIN_COMMIT_SECONDS
        return self._options.detection is None and is_enough

    async def run(self, on_event: OnEvent | None = None) -> None:
        """Send the events of all turns until cancelled."""
        await self._has_begun.wait()
        async with self._recognition.open(self._options, self._session_id) as stream:
            self._stream.set_result(stream)
            async with aclosing(stream.events()) as events:
                async for event in events:
                    item_id = await self._items.tell(event)
                    self._count(event)
                    if on_event:
                        await on_event(event, item_id)

    async def _open(self) -> LiveStream:
        self._has_begun.set()
        return await self._stream

    async def _feed(self, samples: NDArray[np.int16]) -> None:
        if not len(samples):
            return  # still in the resampler
        seconds = len(samples) / SAMPLE_RATE
        self._fed += seconds
        if len(self._arrivals) > 1 and self._fed - self._arrivals[-2][0] < ARRIVAL_SECONDS:
            self._arrivals.pop()
        self._arrivals.append((self._fed, monotonic()))
        await (await self._open()).feed(samples)
        self._metrics.received(seconds)

    def _count(self, event: LiveEvent) -> None:
        match event:
            case live.SpeechStarted():
                self._is_speaking = True
            case live.Cleared():
                self._is_speaking = False
            case live.TurnCommitted(end=end):
                self._is_speaking = False
                self._taken = max(self._taken, end)
            case live.TurnEnded(heard_until=until):
                self.last_speech_at = self._arrival(until)
                self._metrics.completed(monotonic() - self.last_speech_at)
            case live.TurnFailed():
                self._metrics.failed()
            case _:
                pass

    def _arrival(self, seconds: float) -> float:
        """The arrival time of this second of audio. Discards earlier arrival times."""
        while len(self._arrivals) > 1 and self._arrivals[0][0] < seconds:
            self._arrivals.popleft()
        return self._arrivals[0][1]
