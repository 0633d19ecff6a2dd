"""The items of a call and their answers, without a session."""

import asyncio
import json
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from vibevoice_proxy.errors import InvalidRequest
from vibevoice_proxy.realtime import conversation
from vibevoice_proxy.realtime.answers import (
    Speech,
    ToolCall,
    answer_items,
    items_to_answer,
    spoken_text,
)
from vibevoice_proxy.realtime.call_config import (
    CHAT_TOOL,
    CallConfig,
    Tool,
    ToolChoice,
    answering_tool,
)
from vibevoice_proxy.realtime.call_events import (
    FunctionCallOutput,
    Message,
    ResponseConfig,
    TextContent,
)
from vibevoice_proxy.realtime.conversation import Conversation, new_item
from vibevoice_proxy.realtime.items import Items
from vibevoice_proxy.realtime.metrics import RealtimeMetrics
from vibevoice_proxy.realtime.outbox import Outbox
from vibevoice_proxy.realtime.response import order
from vibevoice_proxy.realtime.responses import Responses


def tool(name: str, /, **properties: Any) -> Tool:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return Tool(type="function", name=name, parameters=schema)


def odd(required: Any) -> Tool:
    """A tool with an unusual schema."""
    schema = {"required": required, "properties": {"text": TEXT}}
    return Tool(type="function", name="odd", parameters=schema)


TEXT = {"type": "string"}
ASK, CHAT = tool("ask", question=TEXT), tool(CHAT_TOOL, request=TEXT)
WAVE = tool("play_animation", name={"type": "string", "enum": ["wave"]})
MAIL = tool("send_mail", to=TEXT, text=TEXT)


def said(item_id: str, text: str) -> conversation.Item:
    content = [TextContent(type="input_text", text=text)]
    return new_item(Message(type="message", id=item_id, role="user", content=content))


def output(call_id: str, text: str) -> conversation.Item:
    given = FunctionCallOutput(type="function_call_output", call_id=call_id, output=text)
    return new_item(given)


@pytest.mark.parametrize(
    ("tools", "choice", "name"),
    [
        ([WAVE, ASK, CHAT], "auto", CHAT_TOOL),
        ([WAVE, MAIL, ASK], "auto", "ask"),
        ([ASK, CHAT], ToolChoice(type="function", name="ask"), "ask"),
        ([ASK, WAVE], ToolChoice(type="function", name="play_animation"), None),
        ([WAVE, MAIL, Tool(type="function", name="now")], "auto", None),
        ([CHAT], "none", None),
        ([odd([{}]), odd([]), odd(["text", "text"]), odd("text")], "auto", None),
    ],
)
def test_the_tool_that_answers(tools: list[Tool], choice: Any, name: str | None) -> None:
    """Only a tool with a single required text argument can answer."""
    found = answering_tool(tools, choice)
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("answered", "text"),
    [
        ("Yes.", "Yes."),
        ('{"status": "completed", "answer": "Yes."}', "Yes."),
        ('"Yes."', "Yes."),
        ('{"result": 5}', '{"result": 5}'),
        ("5", "5"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_what_is_spoken_of_an_output(answered: str, text: str) -> None:
    """The field `answer` is spoken, or the whole output."""
    assert spoken_text(answered) == text


def test_the_items_that_a_response_answers() -> None:
    """A response answers the last item, or the one that the metadata names, together with earlier
    unanswered ones."""
    items = [said("1", "Are you"), output("a", "One."), said("2", "there?"), output("b", "Two.")]
    assert answer_items(items_to_answer(items, None), ASK) == Speech("Two.")
    assert answer_items(items_to_answer(items, {"call_id": "a"}), ASK) == Speech("One.")
    asked = answer_items(items_to_answer(items, {"input_item_id": "2"}), ASK)
    assert asked == ToolCall("ask", json.dumps({"question": "Are you there?"}))
    with pytest.raises(InvalidRequest, match="no language model"):
        answer_items(items[:1], None)
    for item in items:
        item.needs_answer = False
    with pytest.raises(InvalidRequest, match="nothing to answer"):
        items_to_answer(items, None)


def test_the_order_of_items() -> None:
    """Items are added at the end, at the start or after another item; the next turn follows the
    last item."""
    held = Conversation(Items(Outbox()))
    for item_id, after in (("1", None), ("2", None), ("0", "root"), ("1b", "1"), ("3", "2")):
        held.add(said(item_id, "x"), after)
    assert [item.id for item in held.items] == ["0", "1", "1b", "2", "3"]
    assert [item.previous_id for item in held.items] == [None, None, "1", "1", "2"]
    with pytest.raises(InvalidRequest, match="already"):
        held.add(said("1", "x"))
    held.delete("3")
    assert held.heard.last_id == "2"


def test_a_conversation_is_bounded() -> None:
    """The oldest items are dropped."""
    held = Conversation(Items(Outbox()))
    for number in range(conversation.MAX_ITEMS + 10):
        held.add(said(str(number), "x"))
    assert len(held.items) == conversation.MAX_ITEMS
    assert held.items[0].id == "10"
    for number in range(5):
        held.add(said(f"long {number}", "x" * (conversation.MAX_CHARS // 4)))
    assert [item.id for item in held.items] == [f"long {number}" for number in range(1, 5)]


async def test_finishing_includes_the_response_that_follows() -> None:
    """`finish` also waits for the response that `on_idle` starts."""
    outbox, begun = Outbox(), 0
    asked = order(CallConfig(tools=[CHAT]), ResponseConfig())
    talk = Conversation(Items(outbox))

    async def begin() -> None:
        nonlocal begun
        if begun < 2:
            begun += 1
            talk.add(said(f"item{begun}", "Hello."))
            await responses.start(asked)

    metrics = RealtimeMetrics(CollectorRegistry())
    voice = cast(Any, None)  # a tool call is not spoken
    responses = Responses(voice, talk, outbox, metrics, begin)
    running = asyncio.create_task(responses.run())
    await begin()
    async with asyncio.timeout(60):
        await responses.finish()
    running.cancel()
    events = [json.loads(event)["type"] for event in iter(outbox.take, None)]
    assert events.count("response.done") == 2
