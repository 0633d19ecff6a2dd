"""Sends the events of one response in OpenAI's order."""

from dataclasses import dataclass, field
from typing import Any, Literal

from vibevoice_proxy.errors import ProxyError
from vibevoice_proxy.realtime.call_config import CallConfig, Tool, answering_tool
from vibevoice_proxy.realtime.call_events import ResponseConfig
from vibevoice_proxy.realtime.conversation import Conversation, Item
from vibevoice_proxy.realtime.outbox import Outbox, describe, new_id
from vibevoice_proxy.realtime.transcription_config import AudioFormat
from vibevoice_proxy.voice import VoiceOptions

CancelReason = Literal["turn_detected", "client_cancelled"]


@dataclass(frozen=True, slots=True)
class Order:
    """The parameters of a response: the client's request combined with the session's
    configuration."""

    given: ResponseConfig
    tool: Tool | None
    """The tool that answers the user."""
    voice: VoiceOptions
    format: AudioFormat

    @property
    def is_in_conversation(self) -> bool:
        """Whether its items become part of the conversation."""
        return self.given.conversation == "auto"

    @property
    def brings_input(self) -> bool:
        """Whether it has its own input instead of the conversation."""
        return self.given.input is not None


def order(config: CallConfig, given: ResponseConfig) -> Order:
    """Combine the session's configuration with a response request."""
    tools = config.tools if given.tools is None else given.tools
    choice = config.tool_choice if given.tool_choice is None else given.tool_choice
    voice, output = config.voice_options, given.audio.output
    if output.voice is not None:
        voice = VoiceOptions(voice.model, output.voice, voice.speed)
    audio_format = output.format or config.audio.output.format
    return Order(given, answering_tool(tools, choice), voice, audio_format)


@dataclass(slots=True)
class Response:
    """A response in progress."""

    order: Order
    conversation: Conversation
    outbox: Outbox
    id: str = field(default_factory=lambda: new_id("resp"))
    cancelled: CancelReason | None = None
    """Why it was cancelled; None if it was not."""
    _output: list[Item] = field(default_factory=list[Item])

    async def begin(self) -> None:
        """Send `response.created`."""
        await self.outbox.put("response.created", response=self._described("in_progress"))

    async def end(self, error: ProxyError | None = None) -> str:
        """Send `response.done`; return the status."""
        status, details = "completed", None
        if self.cancelled:
            status, details = "cancelled", {"type": "cancelled", "reason": self.cancelled}
        elif error:
            told = {key: value for key, value in describe(error).items() if value is not None}
            status, details = "failed", {"type": "failed", "error": told}
        await self.outbox.put("response.done", response=self._described(status, details))
        return status

    async def open(self, item: Item) -> None:
        """Send the events for the start of an item."""
        self._output.append(item)
        await self._put("output_item.added", item=item.body)
        if self.order.is_in_conversation:
            self.conversation.add(item)
            await tell_item(self.outbox, "added", item)

    async def close(self, item: Item, *, is_whole: bool) -> None:
        """Send the events for the end of an item."""
        item.body["status"] = "completed" if is_whole else "incomplete"
        if self.order.is_in_conversation:
            await tell_item(self.outbox, "done", item)
        await self._put("output_item.done", item=item.body)

    async def call(self, item: Item, arguments: str) -> None:
        """Send the events of a tool call."""
        await self.open(item)
        where = {"item_id": item.id, "call_id": item.body["call_id"]}
        item.text = item.body["arguments"] = arguments
        await self._put("function_call_arguments.delta", **where, delta=arguments)
        await self._put(
            "function_call_arguments.done", **where, name=item.body["name"], arguments=arguments
        )
        await self.close(item, is_whole=True)

    async def open_speech(self, item: Item) -> None:
        """Send the events for the start of speech."""
        await self.open(item)
        await self._put_part(item, "content_part.added", part={"type": "audio", "transcript": ""})

    async def say(self, item: Item, words: str) -> None:
        """Send the next words of the speech."""
        delta = f" {words}" if item.text else words
        item.text += delta
        await self._put_part(item, "output_audio_transcript.delta", delta=delta)

    async def sound(self, item: Item, audio: str) -> None:
        """Send base64 audio."""
        await self._put_part(item, "output_audio.delta", delta=audio)

    async def close_speech(self, item: Item, *, is_whole: bool) -> None:
        """Send the events for the end of speech."""
        said = item.text
        kept = {} if item.is_truncated else {"transcript": said}
        item.body["content"] = [{"type": "output_audio", **kept}]
        await self._put_part(item, "output_audio.done")
        await self._put_part(item, "output_audio_transcript.done", transcript=said)
        part = {"type": "audio", "transcript": said}
        await self._put_part(item, "content_part.done", part=part)
        await self.close(item, is_whole=is_whole)

    async def _put_part(self, item: Item, type: str, **fields: Any) -> None:
        await self._put(type, item_id=item.id, content_index=0, **fields)

    async def _put(self, type: str, **fields: Any) -> None:
        where = {"response_id": self.id, "output_index": len(self._output) - 1}
        await self.outbox.put(f"response.{type}", **where, **fields)

    def _described(self, status: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
        output = {
            "format": self.order.format.model_dump(),
            "voice": self.order.voice.voice,
        }
        more: dict[str, Any] = {"status_details": details} if details else {}
        if self.order.is_in_conversation:
            more["conversation_id"] = self.conversation.id
        return {
            "id": self.id,
            "object": "realtime.response",
            "status": status,
            "output": [item.body for item in self._output],
            "output_modalities": ["audio"],
            "max_output_tokens": "inf",
            "audio": {"output": output},
            "metadata": self.order.given.metadata,
            **more,
        }


async def tell_item(outbox: Outbox, what: str, item: Item) -> None:
    """Send the event that an item of the conversation is `added` or `done`."""
    await outbox.put(f"conversation.item.{what}", item=item.body, previous_item_id=item.previous_id)
