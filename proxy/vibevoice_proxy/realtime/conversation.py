"""The history of a call, as far as responses need it."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from vibevoice_proxy.errors import InvalidRequest
from vibevoice_proxy.realtime.call_events import FunctionCallOutput, NewItem
from vibevoice_proxy.realtime.items import Items
from vibevoice_proxy.realtime.outbox import new_id

MAX_ITEMS = 512
MAX_CHARS = 4 * 1024 * 1024
"""Maximum total characters of all items. Beyond either limit, the oldest items are dropped."""


@dataclass(slots=True)
class Item:
    """An item of the conversation."""

    body: dict[str, Any]
    """The item as sent to clients."""
    text: str = ""
    """Its text; empty until the transcript of a turn is complete."""
    is_awaited: bool = False
    """Whether it is a turn whose transcript is pending."""
    needs_answer: bool = False
    """Whether it is an unanswered message or tool output."""
    previous_id: str | None = None
    """Id of the preceding item when this one was added."""
    is_truncated: bool = False
    """Whether the client played only a part of it."""
    audio_seconds: float = 0.0
    """Length of its speech."""

    @property
    def id(self) -> str:
        """The id of the item."""
        return self.body["id"]

    @property
    def is_output(self) -> bool:
        """Whether it is the output of a tool."""
        return self.body["type"] == "function_call_output"


@dataclass(slots=True)
class Conversation:
    """The items of one session, oldest first, including the user's turns."""

    heard: Items
    """Reports the user's turns and tracks the id of the last item."""
    id: str = field(default_factory=lambda: new_id("conv"))
    _items: dict[str, Item] = field(default_factory=dict[str, Item])
    _commits: int = 0
    """Number of turns that the client has committed but that are not yet items."""
    _is_settled: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._note()

    def add(self, item: Item, after: str | None = None) -> None:
        """Add an item at the end, or after the item `after` (`root`: at the start). Raises
        InvalidRequest."""
        if item.id in self._items:
            raise InvalidRequest(
                f"An item {item.id!r} already exists.", param="item.id", code="item_exists"
            )
        ids = list(self._items)
        if after is None or after == self.heard.last_id:
            before, self.heard.last_id = self.heard.last_id, item.id
            self._items[item.id] = item
        else:
            if after != "root":
                self.get(after, "previous_item_id")
            at = 0 if after == "root" else ids.index(after) + 1
            before = ids[at - 1] if at else None
            ordered = list(self._items.values())
            ordered.insert(at, item)
            self._items = {found.id: found for found in ordered}
            self.heard.last_id = ordered[-1].id
        item.previous_id = before
        self._note()

    def get(self, item_id: str, param: str = "item_id") -> Item:
        """The item with this id. Raises InvalidRequest if there is none."""
        if item_id not in self._items:
            raise InvalidRequest(
                f"There is no item {item_id[:80]!r} in the conversation.",
                param=param,
                code="item_not_found",
            )
        return self._items[item_id]

    def delete(self, item_id: str) -> None:
        """Delete an item. Raises InvalidRequest if it does not exist."""
        del self._items[self.get(item_id).id]
        if self.heard.last_id == item_id:
            self.heard.last_id = next(reversed(self._items), None)
        self._note()

    @contextmanager
    def expecting_turn(self) -> Iterator[None]:
        """Expect a turn that the client commits in the block; undone if the block raises
        InvalidRequest."""
        self._expect(1)
        try:
            yield
        except InvalidRequest:
            self._expect(-1)
            raise

    def commit(self, item_id: str, *, is_detected: bool) -> None:
        """Add a turn whose audio is complete."""
        content = [{"type": "input_audio"}]
        body = {**_body(item_id), "type": "message", "role": "user", "content": content}
        self._items[item_id] = Item(body, is_awaited=True)
        self._expect(0 if is_detected else -1)

    def hear(self, item_id: str, text: str) -> None:
        """Set the transcript of a turn; empty if there is none."""
        if item := self._items.get(item_id):
            item.is_awaited = False
            item.text = text
            item.needs_answer = bool(text.strip())
            item.body["content"] = [{"type": "input_audio", "transcript": text}]
        self._note()

    async def settle(self) -> None:
        """Wait for the transcripts of all ended turns."""
        await self._is_settled.wait()

    @property
    def is_settled(self) -> bool:
        """Whether all ended turns have transcripts."""
        return self._is_settled.is_set()

    @property
    def items(self) -> Sequence[Item]:
        """All items, oldest first."""
        return list(self._items.values())

    @property
    def has_question(self) -> bool:
        """Whether a message of the user is unanswered."""
        return any(item.needs_answer and not item.is_output for item in self._items.values())

    def _expect(self, turns: int) -> None:
        self._commits = max(0, self._commits + turns)
        self._note()

    def _note(self) -> None:
        while len(self._items) > MAX_ITEMS or self._chars > MAX_CHARS:
            del self._items[next(iter(self._items))]
        if self._commits or any(item.is_awaited for item in self._items.values()):
            self._is_settled.clear()
        else:
            self._is_settled.set()

    @property
    def _chars(self) -> int:
        return sum(len(item.text) for item in self._items.values())


def new_item(given: NewItem) -> Item:
    """An item sent by the client."""
    item_id = given.id or new_id("item")
    body = {**_body(item_id), **given.model_dump(exclude_none=True, exclude={"id", "status"})}
    if isinstance(given, FunctionCallOutput):
        return Item(body, given.output, needs_answer=True)
    if given.type == "function_call":
        return Item(body, given.arguments)
    text = "\n".join(part.text for part in given.content)
    return Item(body, text, needs_answer=given.role == "user" and bool(text.strip()))


def spoken_item() -> Item:
    """A new item for an answer to speak."""
    body = {**_body(new_id("item")), "type": "message", "role": "assistant", "content": []}
    return Item({**body, "status": "in_progress"})


def call_item(name: str) -> Item:
    """A new item for a tool call."""
    call = {"type": "function_call", "call_id": new_id("call"), "name": name, "arguments": ""}
    return Item({**_body(new_id("item")), **call, "status": "in_progress"})


def _body(item_id: str) -> dict[str, Any]:
    return {"id": item_id, "object": "realtime.item", "status": "completed"}
