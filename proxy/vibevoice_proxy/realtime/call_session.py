"""A session of type `realtime`: a voice call. It transcribes the user, passes the text to a tool of
the client, and speaks the tool's output."""

import asyncio

from vibevoice_proxy import live
from vibevoice_proxy.errors import InvalidRequest
from vibevoice_proxy.live import LiveEvent
from vibevoice_proxy.realtime.call_config import CallConfig, describe_call
from vibevoice_proxy.realtime.call_events import (
    CALL_EVENTS,
    CallEvent,
    ItemCreate,
    ItemDelete,
    ItemRetrieve,
    ItemTruncate,
    ResponseCancel,
    ResponseConfig,
    ResponseCreate,
)
from vibevoice_proxy.realtime.client_events import (
    AudioAppend,
    AudioClear,
    AudioCommit,
    InvalidEvent,
    SessionUpdate,
)
from vibevoice_proxy.realtime.conversation import Conversation, new_item
from vibevoice_proxy.realtime.hearing import Hearing
from vibevoice_proxy.realtime.input_config import configure_input
from vibevoice_proxy.realtime.items import Items
from vibevoice_proxy.realtime.metrics import RealtimeMetrics
from vibevoice_proxy.realtime.outbox import Outbox
from vibevoice_proxy.realtime.response import order, tell_item
from vibevoice_proxy.realtime.responses import Responses
from vibevoice_proxy.voice import Voice

_FIELDS = {"voice": "audio.output.voice", "speed": "audio.output.speed", "model": "model"}
"""Paths of the speech fields in the session object."""


class CallSession:
    """One session; see `Session`."""

    def __init__(
        self,
        session_id: str,
        config: CallConfig,
        hearing: Hearing,
        items: Items,
        voice: Voice,
        outbox: Outbox,
        metrics: RealtimeMetrics,
        *,
        expires_at: int,
        max_prompt_chars: int,
    ) -> None:
        """`items`: the items that `hearing` creates. `expires_at`: Unix time in seconds."""
        self._id = session_id
        self._config = config
        self._hearing = hearing
        self._voice = voice
        self._outbox = outbox
        self._expires_at = expires_at
        self._max_prompt_chars = max_prompt_chars
        self._conversation = Conversation(items)
        self._responses = Responses(
            voice, self._conversation, outbox, metrics, self._answer_if_asked
        )
        self._open_turns: set[int] = set()
        """Turns in which the user is still speaking."""
        self._is_asked = False
        """Whether a turn has ended that needs an automatic response."""

    async def begin(self) -> None:
        """See `Session.begin`. Raises InvalidEvent if the configuration is invalid."""
        await self._configure(self._config, None)
        await self._tell("session.created")

    async def handle(self, message: str) -> None:
        """See `Session.handle`."""
        event = await CALL_EVENTS.receive(message)
        try:
            await self._follow(event)
        except InvalidEvent:
            raise
        except InvalidRequest as error:
            raise InvalidEvent(
                str(error), param=error.param, code=error.code, event_id=event.event_id
            ) from error

    async def finish(self) -> None:
        """See `Session.finish`. Completes the open turn and the response in progress."""
        await self._hearing.finish()
        await self._responses.finish()

    async def run(self) -> None:
        """See `Session.run`."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._responses.run())
                tasks.create_task(self._hearing.run(self._hear))
        except ExceptionGroup as group:
            raise group.exceptions[0] from group

    async def _follow(self, event: CallEvent) -> None:
        match event:
            case SessionUpdate():
                await self._update(event)
            case AudioAppend():
                await self._hearing.append(event)
            case AudioCommit():
                with self._conversation.expecting_turn():
                    await self._hearing.commit(event)
            case AudioClear():
                await self._hearing.clear(event)
            case ItemCreate():
                item = new_item(event.item)
                self._conversation.add(item, event.previous_item_id)
                await tell_item(self._outbox, "added", item)
                await tell_item(self._outbox, "done", item)
            case ItemDelete(item_id=item_id):
                self._conversation.delete(item_id)
                await self._outbox.put("conversation.item.deleted", item_id=item_id)
            case ItemRetrieve(item_id=item_id):
                item = self._conversation.get(item_id)
                await self._outbox.put("conversation.item.retrieved", item=item.body)
            case ItemTruncate():
                await self._truncate(event)
            case ResponseCreate():
                await self._responses.start(order(self._config, event.response))
            case ResponseCancel():
                self._cancel(event)

    async def _hear(self, event: LiveEvent, item_id: str) -> None:
        match event:
            case live.SpeechStarted(turn):
                self._open_turns.add(turn)
                if self._config.interrupts_response:
                    self._responses.cancel("turn_detected")
            case live.TurnCommitted(turn, is_detected=is_detected):
                self._open_turns.discard(turn)
                self._conversation.commit(item_id, is_detected=is_detected)
            case live.TurnEnded(text=text):
                self._conversation.hear(item_id, text)
                if text.strip():
                    self._responses.asked_at = self._hearing.last_speech_at
                self._is_asked = self._config.creates_response and self._conversation.has_question
            case live.TurnFailed():
                self._conversation.hear(item_id, "")
            case live.Cleared():
                self._open_turns.clear()
            case _:
                return
        await self._answer_if_asked()

    async def _answer_if_asked(self) -> None:
        """Start the automatic response to a turn once nobody is speaking."""
        if not self._is_asked or self._open_turns or self._responses.active_id:
            return
        self._is_asked = False
        try:
            await self._responses.start(order(self._config, ResponseConfig()))
        except InvalidRequest as error:
            await self._outbox.put_error(error)

    def _cancel(self, event: ResponseCancel) -> None:
        active = self._responses.active_id
        if active is None or event.response_id not in (None, active):
            raise InvalidEvent(
                "There is no such response in progress.",
                param="response_id",
                code="response_cancel_not_active",
                event_id=event.event_id,
            )
        self._responses.cancel("client_cancelled")

    async def _truncate(self, event: ItemTruncate) -> None:
        item = self._conversation.get(event.item_id)
        length = round(1000 * item.audio_seconds)
        is_spoken = item.body.get("role") == "assistant"
        if not is_spoken or event.content_index:
            raise InvalidEvent(
                "Only the first content part of a spoken answer can be truncated.",
                param="content_index" if is_spoken else "item_id",
                event_id=event.event_id,
            )
        if event.audio_end_ms > length:
            raise InvalidEvent(
                f"The audio of {item.id} is {length} ms long; expected audio_end_ms "
                "to be at most that.",
                param="audio_end_ms",
                event_id=event.event_id,
            )
        item.is_truncated = True
        item.audio_seconds = event.audio_end_ms / 1000
        item.body["content"] = [{"type": "output_audio"}]
        await self._outbox.put(
            "conversation.item.truncated",
            **event.model_dump(include={"item_id", "content_index", "audio_end_ms"}),
        )

    async def _update(self, event: SessionUpdate) -> None:
        kind = event.session.get("type")
        if kind != "realtime":
            raise InvalidEvent(
                "This is a voice call; expected a session of type 'realtime', not "
                f"{str(kind)[:80]!r}. To transcribe only, connect with "
                "?intent=transcription.",
                param="session.type",
                event_id=event.event_id,
            )
        config = self._config.updated(event.session, event.event_id)
        await self._configure(config, event.event_id)
        self._config = config
        await self._tell("session.updated")

    async def _configure(self, config: CallConfig, event_id: str | None) -> None:
        try:
            await self._voice.check(config.voice_options)
        except InvalidRequest as error:
            param = f"session.{_FIELDS[error.param]}" if error.param in _FIELDS else error.param
            raise InvalidEvent(
                str(error), param=param, code=error.code, event_id=event_id
            ) from error
        await configure_input(
            self._hearing,
            config.audio.input,
            with_logprobs=config.with_logprobs,
            max_prompt_chars=self._max_prompt_chars,
            event_id=event_id,
        )

    async def _tell(self, type: str) -> None:
        described = describe_call(self._config, self._id, self._expires_at)
        await self._outbox.put(type, session=described)
