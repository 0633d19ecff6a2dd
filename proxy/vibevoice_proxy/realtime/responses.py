"""The output side of a call: runs one response at a time and speaks the tool's output."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from time import monotonic
from typing import Any

from vibevoice_proxy.errors import InvalidRequest, ProxyError
from vibevoice_proxy.realtime.answers import (
    Answer,
    Speech,
    ToolCall,
    answer_input,
    answer_items,
    items_to_answer,
)
from vibevoice_proxy.realtime.conversation import Conversation, call_item, spoken_item
from vibevoice_proxy.realtime.metrics import RealtimeMetrics
from vibevoice_proxy.realtime.outbox import Outbox
from vibevoice_proxy.realtime.output_audio import OutputAudio
from vibevoice_proxy.realtime.response import CancelReason, Order, Response
from vibevoice_proxy.voice import Voice

LEAD_SECONDS = 5.0
"""How far synthesis may run ahead of playback. On an interruption, the client discards all unplayed
audio."""


class Responses:
    """The output side of one session. Any task may call `start` and `cancel`; `run` needs its own
    task."""

    def __init__(
        self,
        voice: Voice,
        conversation: Conversation,
        outbox: Outbox,
        metrics: RealtimeMetrics,
        on_idle: Callable[[], Awaitable[None]],
    ) -> None:
        """`on_idle` is called after each response and may start the next one."""
        self.asked_at: float | None = None
        """Arrival time of the last unanswered speech (monotonic)."""
        self._voice = voice
        self._conversation = conversation
        self._outbox = outbox
        self._metrics = metrics
        self._on_idle = on_idle
        self._active: Response | None = None
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._begun: asyncio.Queue[Response] = asyncio.Queue(1)
        self._step: asyncio.Task[Any] | None = None
        """The task that a cancellation stops."""

    @property
    def active_id(self) -> str | None:
        """The id of the response in progress, if any."""
        return self._active.id if self._active else None

    async def start(self, order: Order) -> None:
        """Start a response. Raises InvalidRequest if another one is in progress, or if it is
        already clear that there is nothing to say."""
        if self._active:
            raise InvalidRequest(
                f"The response {self._active.id} is in progress; wait for its "
                "response.done or cancel it.",
                code="conversation_already_has_active_response",
            )
        if order.brings_input or self._conversation.is_settled:
            self._find(order)
        self._is_idle.clear()
        self._active = response = Response(order, self._conversation, self._outbox)
        await response.begin()
        await self._begun.put(response)

    def cancel(self, reason: CancelReason) -> None:
        """Cancel the response in progress."""
        if self._active and not self._active.cancelled:
            self._active.cancelled = reason
            if self._step:
                self._step.cancel()

    async def finish(self) -> None:
        """Wait for the response in progress and any that `on_idle` starts."""
        await self._is_idle.wait()

    async def run(self) -> None:
        """Run responses until cancelled."""
        while True:
            response = await self._begun.get()
            error = await self._respond(response)
            self._metrics.responded(await response.end(error))
            self._active = None
            await self._on_idle()
            if not self.active_id:  # otherwise the next one has started
                self._is_idle.set()

    async def _respond(self, response: Response) -> ProxyError | None:
        """Run a response; return the error if it fails."""
        try:
            answer = await self._until_cancelled(response, self._answer(response.order))
            if isinstance(answer, ToolCall):
                await response.call(call_item(answer.name), answer.arguments)
            elif answer:
                await self._speak(response, answer)
        except ProxyError as error:
            return error
        return None

    async def _answer(self, order: Order) -> Answer:
        if not order.brings_input:
            await self._conversation.settle()
        return self._find(order, is_final=True)

    def _find(self, order: Order, *, is_final: bool = False) -> Answer:
        """Find what to answer; `is_final`: mark the items as answered. Raises InvalidRequest."""
        if order.brings_input:
            return answer_input(order.given, order.tool)
        items = items_to_answer(self._conversation.items, order.given.metadata)
        answer = answer_items(items, order.tool)
        if is_final:
            for item in items:
                item.needs_answer = False
        return answer

    async def _speak(self, response: Response, speech: Speech) -> None:
        item = spoken_item()
        await response.open_speech(item)
        speaking = self._say(response, item, speech.text)
        try:
            is_whole = bool(await self._until_cancelled(response, speaking))
        except ProxyError:
            await response.close_speech(item, is_whole=False)
            raise
        await response.close_speech(item, is_whole=is_whole)

    async def _say(self, response: Response, item: Any, text: str) -> bool:
        audio = OutputAudio(response.order.format.type)
        began = 0.0
        async with aclosing(self._voice.speak(text, response.order.voice)) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    await response.say(item, piece)
                    continue
                if not began:
                    began = monotonic()
                    self._tell_delay(began)
                if encoded := audio.encode(piece):
                    await response.sound(item, encoded)
                item.audio_seconds = audio.seconds
                ahead = audio.seconds - (monotonic() - began)
                if response.order.is_in_conversation and ahead > LEAD_SECONDS:
                    await asyncio.sleep(ahead - LEAD_SECONDS)
        return True

    def _tell_delay(self, now: float) -> None:
        if self.asked_at is not None:
            self._metrics.answered(now - self.asked_at)
            self.asked_at = None

    async def _until_cancelled(self, response: Response, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of `work`; None if the response is cancelled first."""
        if response.cancelled:
            work.close()
            return None
        self._step = step = asyncio.create_task(work)
        try:
            await asyncio.wait([step])
        finally:
            self._step = None
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)
        return None if step.cancelled() else step.result()
