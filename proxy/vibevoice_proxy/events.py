"""A transcription as OpenAI's server-sent events (openai 3.52 `TranscriptionStreamEvent`)."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vibevoice_proxy.disconnect import until_disconnect
from vibevoice_proxy.errors import ProxyError, error_body
from vibevoice_proxy.formats import diarized_segment, segment_id, token_usage, truncation
from vibevoice_proxy.transcript import Segment, Transcript, speech_delta

PING = ": ping\n\n"
"""A comment, which clients skip; it keeps the connection alive on its way through proxies."""
MAX_WAITING_EVENTS = 64
"""The transcription pauses when the client is so many events behind."""

logger = logging.getLogger(__name__)


class EventStream(Response):
    """Sends `results` as they come, and a comment every `ping_interval` seconds without one.

    The answer begins with the first event, or with the first comment when that takes longer. Until
    then a failure is raised and has a status of its own; after that it is an event and the end.
    `results` and `resources` are closed at the end or when the client hangs up.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        results: AsyncGenerator[Segment | Transcript],
        response_format: str,
        resources: AsyncExitStack,
        ping_interval: float,
    ) -> None:
        # nginx passes on what it gets at once when told by x-accel-buffering.
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._results = results
        self._response_format = response_format
        self._resources = resources
        self._ping_interval = ping_interval
        self._has_begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._resources, aclosing(self._results):
            try:
                await until_disconnect(Request(scope, receive), partial(self._send_events, send))
            except ClientDisconnect:
                if not self._has_begun:
                    raise
                logger.info("the client hung up in the middle of the events")

    async def _send_events(self, send: Send) -> None:
        sender, receiver = anyio.create_memory_object_stream[str](MAX_WAITING_EVENTS)
        # Cancelled by its scope: the cancellation of a task would not wait for a decoding thread.
        scope = anyio.CancelScope()
        producer = asyncio.create_task(self._produce(sender, scope))
        try:
            with receiver:
                while (event := await self._next(receiver)) is not None:
                    await self._send(send, event)
            await producer  # raises what ended it early
        except ProxyError as error:
            if not self._has_begun:
                raise
            logger.warning("stream ended by an error: %s", error)
            body = error_body(str(error), type=error.type, param=error.param, code=error.code)
            await self._send(send, _event(body))
        finally:
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.gather(producer, return_exceptions=True)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _produce(self, sender: MemoryObjectSendStream[str], scope: anyio.CancelScope) -> None:
        with scope:
            async with sender, aclosing(self._results):
                async for event in transcription_events(self._results, self._response_format):
                    await sender.send(event)

    async def _next(self, receiver: MemoryObjectReceiveStream[str]) -> str | None:
        """The next event, a comment when none comes in time, None at the end."""
        try:
            with anyio.fail_after(self._ping_interval):
                return await receiver.receive()
        except TimeoutError:
            return PING
        except anyio.EndOfStream:
            return None

    async def _send(self, send: Send, event: str) -> None:
        if not self._has_begun:
            self._has_begun = True
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
        await send({"type": "http.response.body", "body": event.encode(), "more_body": True})


async def transcription_events(
    results: AsyncGenerator[Segment | Transcript], response_format: str
) -> AsyncGenerator[str]:
    """Deltas whose sum is the text of the last event, `transcript.text.done`.

    With diarized_json each segment is an event as well.
    """
    diarized = response_format == "diarized_json"
    text = ""
    number = 0
    async for result in results:
        if isinstance(result, Transcript):
            yield _event(
                {
                    "type": "transcript.text.done",
                    "text": result.text,
                    "usage": token_usage(result),
                    **truncation(result),
                }
            )
            continue
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


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False, allow_nan=False)}\n\n"
