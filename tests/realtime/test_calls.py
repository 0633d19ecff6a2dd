"""Voice calls with the real client over a real socket: real voices ask, and the test acts as the
tool."""

import asyncio
from collections.abc import AsyncIterator
from itertools import groupby
from typing import Any

import numpy as np
import openai
import pytest
from scripts.stack import ROOT
from tests.support.calls import LONG, TOOL, Talk, ask, call, question, sound, turn_of
from tests.support.realtime import RATE, TRANSCRIPTION, Event
from tests.support.wording import errors, words

from vibevoice_proxy.realtime.responses import LEAD_SECONDS

COMPLETED = f"{TRANSCRIPTION}.completed"


def types_of(events: list[Event]) -> list[str]:
    """The types of events, with consecutive repetitions removed."""
    return [name for name, _ in groupby(event["type"] for event in events)]


async def test_a_conversation(speaking: str, talk: Talk) -> None:
    """The user's words go to the tool, and the tool's output is spoken."""
    async with call(speaking, model="tts-1") as client:
        await client.offer_tool()
        context = {"type": "message", "role": "system", "id": "chat_context_1"}
        content = [{"type": "input_text", "text": "Current chat snapshot"}]
        await client.send("conversation.item.create", item={**context, "content": content})
        await client.append(turn_of(talk, 0))
        heard = (await client.until(COMPLETED))[-1]
        await client.send("conversation.item.delete", item_id="chat_context_1")
        await client.until("conversation.item.deleted")
        asked = await client.respond(metadata={"input_item_id": heard["item_id"]})
        assert types_of(asked) == [
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        assert question(asked[-1]) == heard["transcript"]
        assert errors(words(talk[1][0].text), words(heard["transcript"])) <= 3
        assert asked[-1]["response"]["metadata"] == {"input_item_id": heard["item_id"]}
        assert asked[2]["previous_item_id"] == heard["item_id"]
        await client.answer(asked[-1], "Good **morning**. It is ten o'clock.")
        spoken = await client.respond(tool_choice="none")
    assert types_of(spoken) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    assert spoken[-1]["response"]["status"] == "completed"
    [item] = spoken[-1]["response"]["output"]
    assert item["content"][0]["transcript"] == "Good morning. It is ten o'clock."
    audio = np.frombuffer(sound(spoken), "<i2")
    assert 1 < len(audio) / RATE < 6
    assert np.abs(audio).max() > 1000


async def test_turns_are_answered_by_themselves(speaking: str, talk: Talk) -> None:
    """Turns are answered automatically if the session says so; a second turn is a new question."""
    async with call(speaking) as client:
        await client.offer_tool(create_response=True)
        for number in (0, 1):
            await client.append(turn_of(talk, number))
            events = await client.until("response.done")
            transcript = next(event for event in events if event["type"] == COMPLETED)
            assert question(events[-1]) == transcript["transcript"]


async def test_barge_in(speaking: str, talk: Talk) -> None:
    """The user's speech interrupts the answer and is answered in turn."""
    async with call(speaking) as client:
        await client.offer_tool(create_response=True, interrupt_response=True)
        await client.append(turn_of(talk, 0))
        await client.answer((await client.until("response.done"))[-1], LONG)
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        await client.append(turn_of(talk, 1))
        await client.until("input_audio_buffer.speech_started")
        events = await client.until("response.done")
        rest = await client.until("response.done")
    done = events[-1]["response"]
    assert done["status"] == "cancelled"
    assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert done["output"][0]["status"] == "incomplete"
    assert len(done["output"][0]["content"][0]["transcript"]) < len(LONG)
    assert len(sound(events)) <= LEAD_SECONDS * 2 * RATE
    assert errors(words(talk[1][1].text), words(question(rest[-1]))) <= 3
    assert sound(rest) == b""


async def test_the_client_interrupts(speaking: str, talk: Talk) -> None:
    """The client cancels the response and reports how much of the answer was heard."""
    async with call(speaking) as client:
        await client.offer_tool()
        await client.answer(await ask(client, talk, 0), LONG)
        await client.send("response.create")
        begun = await client.until("response.output_audio.delta")
        response_id, item_id = begun[-1]["response_id"], begun[-1]["item_id"]
        busy = await client.refused("response.create")
        assert busy["code"] == "conversation_already_has_active_response"
        other = await client.refused("response.cancel", response_id="resp_other")
        assert other["code"] == "response_cancel_not_active"
        await client.send("response.cancel", response_id=response_id)
        done = (await client.until("response.done"))[-1]["response"]
        assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        late = await client.refused("response.cancel", response_id=response_id)
        assert late["code"] == "response_cancel_not_active"
        heard = {"item_id": item_id, "content_index": 0}
        error = await client.refused("conversation.item.truncate", **heard, audio_end_ms=10**6)
        assert error["param"] == "audio_end_ms"
        await client.send("conversation.item.truncate", **heard, audio_end_ms=200)
        assert (await client.receive())["audio_end_ms"] == 200
        await client.send("conversation.item.retrieve", item_id=item_id)
        kept = (await client.receive())["item"]
        assert kept["content"] == [{"type": "output_audio"}]
        await client.send("conversation.item.delete", item_id=item_id)
        assert (await client.receive())["type"] == "conversation.item.deleted"
        gone = await client.refused("conversation.item.retrieve", item_id=item_id)
        assert gone["code"] == "item_not_found"


async def test_push_to_talk(speaking: str, talk: Talk) -> None:
    """A response requested right after the commit waits for the transcript."""
    async with call(speaking) as client:
        await client.configure(tools=[TOOL], audio={"input": {"turn_detection": None}})
        await client.append(turn_of(talk, 1))
        await client.send("input_audio_buffer.commit")
        events = await client.respond()
        assert errors(words(talk[1][1].text), words(question(events[-1]))) <= 3
        nothing = await client.refused("response.create")
        assert nothing["code"] == "nothing_to_answer"


async def test_written_questions(speaking: str) -> None:
    """A text message is also a question, and the tool is the one that the session selects."""
    other = {**TOOL, "name": "ask"}
    message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
    async with call(speaking) as client:
        choice = {"type": "function", "name": "ask"}
        await client.configure(tools=[TOOL, other], tool_choice=choice)
        await client.send("conversation.item.create", item={"id": "mine", **message})
        assert (await client.until("conversation.item.done"))[-1]["item"]["id"] == "mine"
        done = (await client.respond())[-1]
        assert (question(done), done["response"]["output"][0]["name"]) == ("Hi", "ask")


async def test_reading_aloud(speaking: str) -> None:
    """A response with its own text and without a tool speaks that text in the session's voice and
    format, and does not change the conversation."""
    message = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "Seven two nine four."}],
    }
    output = {"voice": "espeak-en-us-man", "format": {"type": "audio/pcmu"}}
    async with call(speaking) as client:
        heard = {"turn_detection": None, "transcription": None}
        updated = await client.configure(audio={"input": heard, "output": output})
        assert updated["session"]["audio"]["output"]["voice"] == "espeak-en-us-man"
        aloud: dict[str, Any] = {"conversation": "none", "tools": [], "tool_choice": "none"}
        events = await client.respond(**aloud, input=[message])
        assert not [event for event in events if event["type"].startswith("conversation")]
        assert 8000 < len(sound(events)) < 5 * 8000
        asked = {"instructions": "Say this briefly in the user's language: One moment."}
        events = await client.respond(**aloud, input=[], **asked)
        assert events[-1]["response"]["output"][0]["content"][0]["transcript"] == "One moment."
        refused = await client.respond(**aloud, input=[], instructions="Be brief.")
        assert refused[-1]["error"]["code"] == "nothing_to_answer"


async def test_the_documented_client(speaking: str, talk: Talk) -> None:
    """The example in the docs completes a call."""
    page = (ROOT / "docs" / "guides" / "voice-calls.md").read_text()
    code: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], code)
    asked: list[str] = []
    played: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def microphone() -> AsyncIterator[bytes]:
        yield turn_of(talk, 0)

    async def chat(request: str) -> str:
        asked.append(request)
        return "It is ten o'clock."

    held = asyncio.create_task(
        code["hold_call"](f"{speaking}/v1", microphone(), played.put_nowait, chat)
    )
    assert await played.get() is None  # the user starts to speak
    assert await played.get()
    assert errors(words(talk[1][0].text), words(asked[0])) <= 3
    held.cancel()
    await asyncio.gather(held, return_exceptions=True)


async def test_client_secrets(speaking: str) -> None:
    """A secret opens a call with its configuration; one that is too long for a header is
    rejected."""
    async with openai.AsyncOpenAI(base_url=f"{speaking}/v1", api_key="none") as client:
        create = client.realtime.client_secrets.create
        wanted: Any = {"type": "realtime", "tools": [TOOL], "instructions": "Be kind. " * 300}
        secret = await create(session=wanted)
        assert secret.session.type == "realtime"
        large: Any = {**wanted, "instructions": "Be kind. " * 800}
        with pytest.raises(openai.BadRequestError) as refused:
            await create(session=large)
    assert refused.value.code == "session_too_large"
    async with call(speaking, secret.value) as held:
        session = held.events[0]["session"]
        assert session["tools"][0]["name"] == TOOL["name"]
        assert session["instructions"] == wanted["instructions"]
