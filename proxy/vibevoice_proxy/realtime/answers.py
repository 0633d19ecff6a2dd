"""Determines what a response says. The proxy has no language model: it passes the user's words to a
tool of the client and speaks the tool's output."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vibevoice_proxy.errors import InvalidRequest
from vibevoice_proxy.realtime.call_config import CHAT_TOOL, Tool
from vibevoice_proxy.realtime.call_events import ResponseConfig
from vibevoice_proxy.realtime.conversation import Item, new_item

_SAY = re.compile(r"(?:say|repeat|read)\b[^:\n]{0,120}:\s*(?P<text>\S.*)", re.I | re.S)
"""Instructions that contain the text to speak, such as `Say this briefly: One moment.`"""
_NO_TOOL = (
    "This server has no language model: it answers by calling a function tool with one required "
    f"string argument, such as {CHAT_TOOL}, and speaks the function_call_output. "
    "The session has no such tool. To speak a given text, send response.create "
    "with the text in `input` and tool_choice none."
)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """Call a tool of the client."""

    name: str
    arguments: str
    """JSON."""


@dataclass(frozen=True, slots=True)
class Speech:
    """Speak a text."""

    text: str


Answer = ToolCall | Speech


def answer_input(given: ResponseConfig, tool: Tool | None) -> Answer:
    """The answer to a response that has its own input: call the tool with its text, or speak the
    text if there is no tool. Raises InvalidRequest."""
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
        "There is nothing to say: expected a user message with text in `input`, or "
        "instructions of the form 'Say this: TEXT'. This server has no language "
        "model to follow other instructions.",
        param="response.input",
        code="nothing_to_answer",
    )


def answer_items(items: Sequence[Item], tool: Tool | None) -> Answer:
    """The answer to the items found by `items_to_answer`. Raises InvalidRequest."""
    if items[-1].is_output:
        return Speech(spoken_text(items[-1].text))
    if tool is None:
        raise InvalidRequest(_NO_TOOL, param="session.tools", code="no_answering_tool")
    return _ask(tool, " ".join(item.text for item in items))


def items_to_answer(items: Sequence[Item], metadata: Mapping[str, str] | None) -> Sequence[Item]:
    """The items of a conversation that a response answers: the one that its metadata names as
    `input_item_id` or `call_id` (as Open WebUI does), or the last unanswered item; plus all earlier
    unanswered items of the same kind. Raises InvalidRequest."""
    named = metadata or {}
    last = next((item for item in reversed(items) if _is_named(item, named)), None)
    last = last or next((item for item in reversed(items) if item.needs_answer), None)
    if last is None:
        raise InvalidRequest(
            "There is nothing to answer: no speech, message or "
            "function_call_output was received since the last response.",
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
    """The part of a tool's output to speak: the field `answer` of a JSON object, the text of a JSON
    string, or otherwise the whole output."""
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
