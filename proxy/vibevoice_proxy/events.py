"""A transcription as OpenAI's server-sent events (openai 3.52 `TranscriptionStreamEvent`)."""

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Send

from vibevoice_proxy.errors import ProxyError, error_body
from vibevoice_proxy.formats import diarized_segment, segment_id, token_usage
from vibevoice_proxy.transcript import Segment, Transcript, speech_delta

logger = logging.getLogger(__name__)


class EventStream(StreamingResponse):
    """Server-sent events; the events and the resources under them are closed when the last one is
    sent or the client hangs up."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[str], resources: AsyncExitStack) -> None:
        super().__init__(events, headers={"cache-control": "no-store"})
        self._events = events
        self._resources = resources

    async def stream_response(self, send: Send) -> None:
        async with self._resources, aclosing(self._events):
            await super().stream_response(send)


async def transcription_events(
    first: Segment | Transcript,
    rest: AsyncGenerator[Segment | Transcript],
    response_format: str,
) -> AsyncGenerator[str]:
    """Deltas whose sum is the text of the last event, `transcript.text.done`.

    With diarized_json each segment is an event as well. When the transcription fails on the way, an
    `error` object takes the place of the rest.
    """
    diarized = response_format == "diarized_json"
    text = ""
    number = 0
    async with aclosing(rest):
        result = first
        try:
            while isinstance(result, Segment):
                number += 1
                if delta := speech_delta(text, result):
                    text += delta
                    yield _event(
                        {
                            "type": "transcript.text.delta",
                            "delta": delta,
                            **({"segment_id": segment_id(number)} if diarized else {}),
                        }
                    )
                if diarized:
                    yield _event(diarized_segment(number, result))
                result = await anext(rest)
        except ProxyError as error:
            logger.warning("stream ended by an error: %s", error)
            yield _event(
                error_body(str(error), type=error.type, param=error.param, code=error.code)
            )
            return
        yield _event(
            {"type": "transcript.text.done", "text": result.text, "usage": token_usage(result)}
        )


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False, allow_nan=False)}\n\n"
