"""Voice calls as the tests hold them: the test plays the tool that answers."""

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
"""As Open WebUI sends it: its page asks for responses and ends them itself."""
FORMAT = {"type": "audio/pcm", "rate": 24_000}
SILENCE = bytes(2 * 24_000)
"""A second of `audio/pcm`."""
LONG = "This answer goes on for a while, so that somebody can interrupt it. " * 12

Talk = tuple[bytes, list[Spoken]]


class Call(Client):
    """A voice call held with the real client; every event is checked against its types."""

    async def send(self, type: str, **fields: Any) -> None:
        """Send an event."""
        await self.connection.send_raw(json.dumps({"type": type, **fields}))

    async def configure(self, **session: Any) -> Event:
        """Change the session; the answer."""
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
        """Ask for a response; the events until it is over."""
        await self.send("response.create", response=response)
        return await self.until("response.done", "error")

    async def answer(self, call: Event, text: str) -> None:
        """Give the answer of the tool to the response that called it, as Open WebUI does."""
        [item] = call["response"]["output"]
        output = json.dumps({"status": "completed", "answer": text})
        answered = {"type": "function_call_output", "call_id": item["call_id"], "output": output}
        await self.send("conversation.item.create", item=answered)
        await self.until("conversation.item.done")

    async def refused(self, type: str, **fields: Any) -> Event:
        """Send an event that gets an error; the error."""
        await self.send(type, **fields)
        return (await self.until("error"))[-1]["error"]


@asynccontextmanager
async def call(base: str, key: str = "none", **query: str) -> AsyncIterator[Call]:
    """A voice call at the proxy `base`, after its `session.created`."""
    async with openai.AsyncOpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0) as client:
        async with client.realtime.connect(extra_query=query) as connection:
            held = Call(connection)
            assert (await held.receive())["type"] == "session.created"
            yield held


def question(done: Event) -> str:
    """What a response asked the tool."""
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
    """Say a turn and ask for a response as Open WebUI does: the call of the tool."""
    await client.append(turn_of(talk, number))
    item_id = (await client.until(f"{TRANSCRIPTION}.completed"))[-1]["item_id"]
    return (await client.respond(metadata={"input_item_id": item_id}))[-1]
