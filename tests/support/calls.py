"""Voice calls for tests, in which the test acts as the tool."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
from tests.support.real_voices import Spoken
from tests.support.realtime import RATE, TRANSCRIPTION, Client, Event

TOOL = {
    "type": "function",
    "name": "generate_chat_completion",
    "description": "Answers.",
    "parameters": {
        "type": "object",
        "properties": {"request": {"type": "string"}},
        "required": ["request"],
        "additionalProperties": False,
    },
}
DETECTION = {"type": "server_vad", "create_response": False, "interrupt_response": False}
"""The turn detection that Open WebUI sends: its page requests and cancels responses itself."""
FORMAT = {"type": "audio/pcm", "rate": 24_000}
SILENCE = bytes(2 * 24_000)
"""A second of `audio/pcm`."""
LONG = "This answer goes on for a while, so that somebody can interrupt it. " * 12

Talk = tuple[bytes, list[Spoken]]


class Call(Client):
    """A voice call with the real client; every event is validated with its types."""

    async def send(self, type: str, **fields: Any) -> None:
        """Send an event."""
        await self.connection.send_raw(json.dumps({"type": type, **fields}))

    async def configure(self, **session: Any) -> Event:
        """Change the session; return the response."""
        await self.send("session.update", session={"type": "realtime", **session})
        return (await self.until("session.updated", "error"))[-1]

    async def offer_tool(self, **detection: Any) -> None:
        """Configure the session as Open WebUI does."""
        heard = {
            "format": FORMAT,
            "transcription": {"model": "whisper-1"},
            "turn_detection": {**DETECTION, **detection},
        }
        updated = await self.configure(
            output_modalities=["audio"],
            instructions="You are the assistant in this chat.",
            audio={"input": heard, "output": {"format": FORMAT, "voice": "alloy"}},
            tools=[TOOL],
            tool_choice="auto",
        )
        assert updated["type"] == "session.updated", updated

    async def respond(self, **response: Any) -> list[Event]:
        """Request a response; return the events until it ends."""
        await self.send("response.create", response=response)
        return await self.until("response.done", "error")

    async def answer(self, call: Event, text: str) -> None:
        """Send the tool's output for the response that called it, as Open WebUI does."""
        [item] = call["response"]["output"]
        output = json.dumps({"status": "completed", "answer": text})
        answered = {"type": "function_call_output", "call_id": item["call_id"], "output": output}
        await self.send("conversation.item.create", item=answered)
        await self.until("conversation.item.done")

    async def refused(self, type: str, **fields: Any) -> Event:
        """Send an event that causes an error; return the error."""
        await self.send(type, **fields)
        return (await self.until("error"))[-1]["error"]


@asynccontextmanager
async def call(base: str, key: str = "none", **query: str) -> AsyncIterator[Call]:
    """Open a voice call at the proxy `base`, up to `session.created`."""
    async with openai.AsyncOpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0) as client:
        async with client.realtime.connect(extra_query=query) as connection:
            held = Call(connection)
            assert (await held.receive())["type"] == "session.created"
            yield held


def question(done: Event) -> str:
    """The argument of a response's tool call."""
    [item] = done["response"]["output"]
    assert item["type"] == "function_call", item
    assert item["status"] == "completed"
    return json.loads(item["arguments"])["request"]


def sound(events: list[Event]) -> bytes:
    """The audio of a response."""
    deltas = [event for event in events if event["type"] == "response.output_audio.delta"]
    return b"".join(base64.b64decode(event["delta"]) for event in deltas)


def turn_of(talk: Talk, number: int) -> bytes:
    """One turn and a second of silence."""
    data, turns = talk
    turn = turns[number]
    return data[round(turn.start * RATE) * 2 : round(turn.end * RATE) * 2] + SILENCE


async def ask(client: Call, talk: Talk, number: int) -> Event:
    """Send a turn and request a response, as Open WebUI does; return the tool call."""
    await client.append(turn_of(talk, number))
    item_id = (await client.until(f"{TRANSCRIPTION}.completed"))[-1]["item_id"]
    return (await client.respond(metadata={"input_item_id": item_id}))[-1]
