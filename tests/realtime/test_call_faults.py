"""Faults in voice calls: unsupported events, unspeakable answers, random events, and
disconnects."""

import asyncio
import random

import httpx2
import pytest
from tests.support.calls import LONG, TOOL, Talk, ask, call, question, turn_of
from tests.support.metrics import samples_when
from tests.support.realtime import Event


async def test_an_answer_that_cannot_be_spoken(speaking: str, talk: Talk) -> None:
    """The response fails, and the call continues."""
    async with call(speaking) as client:
        await client.offer_tool()
        await client.answer(await ask(client, talk, 0), "word " * 1000)
        failed = (await client.respond())[-1]["response"]
        assert failed["status"] == "failed"
        assert failed["status_details"]["error"]["code"] == "string_above_max_length"
        assert question(await ask(client, talk, 1))


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        ({"type": "output_audio_buffer.clear"}, "unsupported_event", "type"),
        ({"type": "response.create"}, "nothing_to_answer", None),
        (
            {"type": "response.create", "response": {"output_modalities": ["text"]}},
            "invalid_value",
            "response.output_modalities.0",
        ),
        (
            {
                "type": "conversation.item.create",
                "item": {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_audio", "audio": "AAAA"}],
                },
            },
            "invalid_value",
            "item.content.0.type",
        ),
        (
            {
                "type": "conversation.item.create",
                "previous_item_id": "none",
                "item": {"type": "function_call_output", "call_id": "c", "output": ""},
            },
            "item_not_found",
            "previous_item_id",
        ),
        ({"type": "conversation.item.delete", "item_id": "x"}, "item_not_found", "item_id"),
        (
            {"type": "session.update", "session": {"type": "transcription"}},
            "invalid_value",
            "session.type",
        ),
        (
            {
                "type": "session.update",
                "session": {"type": "realtime", "tools": [{"type": "mcp", "server_label": "x"}]},
            },
            "invalid_value",
            "session.tools.0.type",
        ),
        (
            {
                "type": "session.update",
                "session": {
                    "type": "realtime",
                    "tools": [{"type": "function", "name": "x", "parameters": {"a": float("nan")}}],
                },
            },
            "invalid_value",
            "session.tools.0.parameters",
        ),
        (
            {
                "type": "session.update",
                "session": {
                    "type": "realtime",
                    "tools": 10 * [{**TOOL, "description": "x" * 16_000}],
                },
            },
            "invalid_value",
            "session.tools",
        ),
        (
            {
                "type": "session.update",
                "session": {"type": "realtime", "truncation": {"x": "x" * 20_000}},
            },
            "invalid_value",
            "session.truncation",
        ),
        (
            {
                "type": "response.create",
                "response": {"input": [], "instructions": "say:" + " " * 65_000},
            },
            "nothing_to_answer",
            "response.input",
        ),
        (
            {
                "type": "session.update",
                "session": {"type": "realtime", "audio": {"output": {"voice": "nobody at all"}}},
            },
            "invalid_value",
            "session.audio.output.voice",
        ),
    ],
)
async def test_what_is_not_supported(
    speaking: str, event: Event, code: str, param: str | None
) -> None:
    """The error names the unsupported part and has the id of the client's event."""
    async with call(speaking) as client:
        error = await client.refused(**event, event_id="mine")
        assert (error["code"], error["param"], error["event_id"]) == (code, param, "mine")


async def test_a_session_without_a_tool(speaking: str, talk: Talk) -> None:
    """The error says which tool could answer, and the session continues to transcribe."""
    async with call(speaking) as client:
        for number in (0, 1):
            await client.append(turn_of(talk, number))
            error = (await client.until("error"))[-1]["error"]
            assert error["code"] == "no_answering_tool"
            assert "generate_chat_completion" in error["message"]


async def test_random_events(speaking: str) -> None:
    """Random events neither end a call nor leave one open."""

    async def play(seed: int) -> None:
        source = random.Random(seed)
        async with call(speaking) as client:
            for _ in range(40):
                await client.send(**random_event(source))
            await client.send("last")
            while "'last'" not in str((await client.receive()).get("error")):
                pass

    await asyncio.gather(*map(play, range(10)))
    with httpx2.Client(base_url=speaking, timeout=60) as http:
        samples_when(http, lambda found: found[("vibevoice_realtime_sessions_open",)] == 0)


def random_event(source: random.Random) -> Event:
    """A random event, which may or may not be valid at this point."""
    item_id = source.choice(["a", "b", "c"])
    text = {"type": "input_text", "text": source.choice(["", "Hello.", "word " * 200])}
    message = {"id": item_id, "type": "message", "role": "user", "content": [text]}
    output = {"type": "function_call_output", "call_id": "a", "output": text["text"]}
    given: Event = {"conversation": source.choice(["auto", "none"])}
    if source.random() < 0.3:
        given |= {"input": [message], "tool_choice": source.choice(["none", "auto"])}
    events: list[Event] = [
        {"type": "input_audio_buffer.append", "audio": "AAAA" * source.choice([0, 1000, 8000])},
        {"type": source.choice(["input_audio_buffer.commit", "input_audio_buffer.clear"])},
        {"type": "conversation.item.create", "item": source.choice([message, output])},
        {"type": "conversation.item.delete", "item_id": item_id},
        {"type": "conversation.item.truncate", "item_id": item_id, "audio_end_ms": 5},
        {"type": "response.create", "response": given},
        {"type": "response.create"},
        {"type": "response.cancel"},
        {"type": "session.update", "session": {"type": "realtime", "tools": [TOOL]}},
    ]
    return source.choice(events)


async def test_metrics(speaking: str, talk: Talk) -> None:
    """Responses are counted, and the delay of answers is observed."""
    async with call(speaking) as client:
        await client.offer_tool()
        await client.answer(await ask(client, talk, 0), "Yes, of course it does.")
        await client.respond()
    with httpx2.Client(base_url=speaking, timeout=60) as http:
        found = samples_when(http, lambda found: found[("vibevoice_realtime_sessions_open",)] == 0)
    assert found[("vibevoice_realtime_responses_total", "completed")] >= 2
    assert found[("vibevoice_realtime_answer_seconds_count",)] >= 1


async def test_a_client_that_leaves_in_the_middle_of_an_answer(speaking: str, talk: Talk) -> None:
    """Nothing remains of its session."""
    async with call(speaking) as client:
        await client.offer_tool()
        await client.answer(await ask(client, talk, 0), LONG)
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        client.connection._connection.transport.abort()  # type: ignore[attr-defined]
    with httpx2.Client(base_url=speaking, timeout=60) as http:
        samples_when(http, lambda found: found[("vibevoice_realtime_sessions_open",)] == 0)
        samples_when(http, lambda found: found[("vibevoice_speech_in_flight", "espeak")] == 0)
