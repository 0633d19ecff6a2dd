"""Reports the turns of a session as conversation items, with OpenAI's events in OpenAI's order."""

from dataclasses import dataclass, field
from typing import Any

from vibevoice_proxy import live
from vibevoice_proxy.errors import UpstreamError
from vibevoice_proxy.live import LiveEvent, LiveSegment, LiveToken, TurnCommitted, TurnEnded
from vibevoice_proxy.realtime.outbox import Outbox, describe, new_id

TRANSCRIPTION = "conversation.item.input_audio_transcription"
BUFFER = "input_audio_buffer"


@dataclass(slots=True)
class _Item:
    """A turn of the user whose events are not all sent."""

    id: str = field(default_factory=lambda: new_id("item"))
    tokens: list[LiveToken] = field(default_factory=list[LiveToken])
    is_committed: bool = False


class Items:
    """Sends the events of turns to the client."""

    def __init__(self, outbox: Outbox) -> None:
        self.with_logprobs = False
        """Whether the client requested log probabilities."""
        self.last_id: str | None = None
        """Id of the last item of the conversation."""
        self._outbox = outbox
        self._items: dict[int, _Item] = {}

    async def tell(self, event: LiveEvent) -> str:
        """Send `event`; return the id of its item, or an empty string if it belongs to no turn."""
        put = self._outbox.put
        match event:
            case live.Cleared():
                self._items = {
                    turn: item for turn, item in self._items.items() if item.is_committed
                }
                await put(f"{BUFFER}.cleared")
                return ""
            case live.Interrupted(error):
                await self._outbox.put_error(error)
                return ""
            case _:
                item = self._items.setdefault(event.turn, _Item())
        match event:
            case live.SpeechStarted(_, start):
                await put(
                    f"{BUFFER}.speech_started", audio_start_ms=_milliseconds(start), item_id=item.id
                )
            case live.NewWords(_, text):
                await self._put(f"{TRANSCRIPTION}.delta", item, delta=text)
            case LiveSegment():
                item.tokens += event.tokens
                await self._put(
                    f"{TRANSCRIPTION}.segment",
                    item,
                    id=new_id("seg"),
                    text=event.text,
                    speaker=event.speaker,
                    start=event.start,
                    end=event.end,
                )
            case TurnCommitted():
                await self._commit(item, event)
            case TurnEnded():
                del self._items[event.turn]
                await self._complete(item, event)
            case live.TurnFailed(_, error):
                del self._items[event.turn]
                await self._put(f"{TRANSCRIPTION}.failed", item, error=describe(error))
        return item.id

    async def _commit(self, item: _Item, turn: TurnCommitted) -> None:
        put = self._outbox.put
        item.is_committed = True
        if turn.is_detected:
            end = _milliseconds(turn.end)
            await put(f"{BUFFER}.speech_stopped", audio_end_ms=end, item_id=item.id)
        before, self.last_id = self.last_id, item.id
        await put(f"{BUFFER}.committed", item_id=item.id, previous_item_id=before)
        whole: dict[str, Any] = {
            "id": item.id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio"}],
        }
        await put("conversation.item.added", item=whole, previous_item_id=before)
        await put("conversation.item.done", item=whole, previous_item_id=before)

    async def _complete(self, item: _Item, turn: TurnEnded) -> None:
        unclear = [part for part in turn.missing if part.reason == "unclear"]
        if unclear and not turn.text:
            error = UpstreamError(
                "Speech was detected, but the words are not clear enough to transcribe. By "
                "default, the light recognizer only supports English.",
                code="unclear",
            )
            await self._put(f"{TRANSCRIPTION}.failed", item, error=describe(error))
            return
        more: dict[str, Any] = {}
        if self.with_logprobs:
            more["logprobs"] = [_logprob(token) for token in item.tokens]
        if turn.missing:
            more["missing"] = [part._asdict() for part in turn.missing]
        await self._put(
            f"{TRANSCRIPTION}.completed", item, transcript=turn.text, usage=_usage(turn), **more
        )

    async def _put(self, type: str, item: _Item, **fields: Any) -> None:
        await self._outbox.put(type, item_id=item.id, content_index=0, **fields)


def _usage(turn: TurnEnded) -> dict[str, Any]:
    if turn.usage is None:
        return {"type": "duration", "seconds": turn.seconds}
    input_tokens, output_tokens, audio_tokens = turn.usage
    return {
        "type": "tokens",
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "input_token_details": {
            "audio_tokens": audio_tokens,
            "text_tokens": input_tokens - audio_tokens,
        },
    }


def _logprob(token: LiveToken) -> dict[str, Any]:
    return {
        "token": token.text,
        "logprob": round(token.logprob, 4),
        "bytes": list(token.text.encode()),
    }


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
