"""A transcription as OpenAI's server-sent events (openai 3.52 `TranscriptionStreamEvent`)."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from vibevoice_proxy.streaming import EVENTS, StreamedAnswer, encode_event
from vibevoice_proxy.transcription.formats import (
    diarized_segment,
    logprobs,
    segment_id,
    speakers,
    token_usage,
    truncation,
)
from vibevoice_proxy.transcription.transcript import Segment, Transcript, speech_delta

PING = b": ping\n\n"
"""A comment, which clients ignore. It keeps the connection alive through proxies."""
MAX_WAITING_EVENTS = 64
"""The transcription pauses if the client is this many events behind."""


def stream_events(
    results: AsyncGenerator[Segment | Transcript],
    response_format: str,
    cleanup: AsyncExitStack,
    ping_interval: float,
    *,
    with_logprobs: bool = False,
    more_headers: Callable[[], Mapping[str, str]] = dict,
) -> StreamedAnswer:
    """`results` as they arrive, and a comment after every `ping_interval` seconds without one; a
    comment can also start the response. `cleanup` is closed at the end. `more_headers`: called when
    the response begins."""
    events = transcription_events(results, response_format, with_logprobs=with_logprobs)
    return StreamedAnswer(
        with_pings(events, ping_interval), EVENTS, cleanup=cleanup, more_headers=more_headers
    )


async def with_pings(events: AsyncGenerator[bytes], ping_interval: float) -> AsyncGenerator[bytes]:
    """`events`, and a comment whenever none arrived for `ping_interval` seconds."""
    sender, receiver = anyio.create_memory_object_stream[bytes](MAX_WAITING_EVENTS)
    # Cancel the scope, not the task: cancelling the task would not wait for a decoding thread.
    scope = anyio.CancelScope()
    producer = asyncio.create_task(_produce(events, sender, scope))
    try:
        with receiver:
            while True:
                event = PING
                try:
                    with anyio.move_on_after(ping_interval):
                        event = await receiver.receive()
                except anyio.EndOfStream:
                    break
                yield event
        await producer  # raises the error that ended it early
    finally:
        scope.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(producer, return_exceptions=True)


async def _produce(
    events: AsyncGenerator[bytes], sender: MemoryObjectSendStream[bytes], scope: anyio.CancelScope
) -> None:
    with scope:
        async with sender, aclosing(events):
            async for event in events:
                await sender.send(event)


async def transcription_events(
    results: AsyncGenerator[Segment | Transcript],
    response_format: str,
    *,
    with_logprobs: bool = False,
) -> AsyncGenerator[bytes]:
    """Deltas that add up to the text of the last event, `transcript.text.done`.

    With diarized_json, each segment is an event as well. `with_logprobs` adds the log probabilities
    of the tokens, if the model provides them.
    """
    diarized = response_format == "diarized_json"
    text = ""
    number = 0
    async with aclosing(results):
        async for result in results:
            if isinstance(result, Transcript):
                yield encode_event(
                    {
                        "type": "transcript.text.done",
                        "text": result.text,
                        **(logprobs(result.segments) if with_logprobs else {}),
                        # OpenAI's type allows only tokens here, or nothing.
                        **({"usage": token_usage(result.usage)} if result.usage else {}),
                        **speakers(result),
                        **truncation(result),
                    }
                )
                continue
            number += 1
            if delta := speech_delta(text, result):
                text += delta
                yield encode_event(
                    {
                        "type": "transcript.text.delta",
                        "delta": delta,
                        **(logprobs([result]) if with_logprobs else {}),
                        **({"segment_id": segment_id(number)} if diarized else {}),
                    }
                )
            if diarized:
                yield encode_event(diarized_segment(number, result))
