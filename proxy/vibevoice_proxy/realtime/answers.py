"""What a response says. There is no language model here: what the user said goes to a tool of the
client, and what the tool answers is spoken."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vibevoice_proxy.errors import InvalidRequest
from vibevoice_proxy.realtime.call_config import CHAT_TOOL, Tool
from vibevoice_proxy.realtime.call_events import ResponseConfig
from vibevoice_proxy.realtime.conversation import Item, new_item

_SAY = re.compile(r"(?:say|repeat|read)\b[^:\n]{0,120}:\s*(?P<text>\S.*)", re.I | re.S)
"""Instructions that hold the words themselves, such as `Say this briefly: One moment.`"""
_NO_TOOL = (
    "This server has no language model: it answers by calling a function tool with one required "
    f"string argument, such as {CHAT_TOOL}, and speaks the function_call_output. The session "
    "offers no such tool. To have a text spoken, send response.create with it in `input` and "
    "tool_choice none."
)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """Ask a tool of the client."""

    name: str
    arguments: str
    """JSON."""


@dataclass(frozen=True, slots=True)
class Speech:
    """Say this."""

    text: str


Answer = ToolCall | Speech


def answer_input(given: ResponseConfig, tool: Tool | None) -> Answer:
    """The answer to what a response brings itself: its text goes to the tool, or is spoken where
    there is none. Raises InvalidRequest."""
    items = [new_item(item) for item in given.input or ()]
    text = "\n".join(item.text for item in items if item.needs_answer and not item.is_output)
    outputs = [item for item in items if item.is_output]
    if outputs:
        return Speech(spoken_text(outputs[-1].text))
    if text and tool:
        return _ask(tool, text)
    if text:
        return Speech(text)
    if found := _SAY.fullmatch((given.instructions or "").strip()):
        return Speech(found["text"])
    raise InvalidRequest(
        "There is nothing to say: expected a user message with text in `input`, or instructions "
        "of the form 'Say this: TEXT'. This server has no language model that follows others.",
        param="response.input",
        code="nothing_to_answer",
    )


def answer_items(items: Sequence[Item], tool: Tool | None) -> Answer:
    """The answer to items that `items_to_answer` has found. Raises InvalidRequest."""
    if items[-1].is_output:
        return Speech(spoken_text(items[-1].text))
    if tool is None:
        raise InvalidRequest(_NO_TOOL, param="session.tools", code="no_answering_tool")
    return _ask(tool, " ".join(item.text for item in items))


def items_to_answer(items: Sequence[Item], metadata: Mapping[str, str] | None) -> Sequence[Item]:
    """The items of a conversation that a response answers: the one that its metadata names as
    `input_item_id` or `call_id`, as Open WebUI does, else the last that has no answer; and before
    it those of the same kind that have none. Raises InvalidRequest."""
    named = metadata or {}
    last = next((item for item in reversed(items) if _is_named(item, named)), None)
    last = last or next((item for item in reversed(items) if item.needs_answer), None)
    if last is None:
        raise InvalidRequest(
            "There is nothing to answer: nobody said anything since the last response, and no "
            "function_call_output came.",
            code="nothing_to_answer",
        )
    before = items[: items.index(last)]
    kind = last.is_output
    return [*(item for item in before if item.needs_answer and item.is_output == kind), last]


def _is_named(item: Item, metadata: Mapping[str, str]) -> bool:
    if item.is_output:
        return item.body["call_id"] == metadata.get("call_id")
    return item.id == metadata.get("input_item_id") and bool(item.text)


def spoken_text(output: str) -> str:
    """What is said of a tool's output: its field `answer` where it is a JSON object with one, the
    text of a JSON string, else the whole."""
    try:
        value = json.loads(output)
    except (ValueError, RecursionError):
        return output
    match value:
        case str():
            return value
        case {"answer": str(text)}:
            return text
        case _:
            return output


def _ask(tool: Tool, text: str) -> ToolCall:
    assert tool.argument is not None
    return ToolCall(tool.name, json.dumps({tool.argument: text}, ensure_ascii=False))
