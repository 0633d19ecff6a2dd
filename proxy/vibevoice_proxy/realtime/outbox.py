"""Queues the events to be sent to a client."""

import asyncio
import json
from collections import deque
from typing import Any
from uuid import uuid4

from vibevoice_proxy.errors import ProxyError

ROOM = 256
"""Maximum number of queued events; beyond it, `put` waits."""
ROOM_CHARACTERS = 4 * 1024 * 1024
"""Maximum total length of queued events."""
MAX_PARAM, MAX_MESSAGE = 200, 500
"""Maximum characters of an error's fields, which can quote the client's input."""


class Outbox:
    """Assigns ids to events and preserves their order."""

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._characters = 0
        self._changed = asyncio.Condition()

    async def put(self, type: str, **fields: Any) -> None:
        """Queue an event; wait for space if the queue is full."""
        event = {"type": type, "event_id": new_id("event"), **fields}
        text = json.dumps(event, ensure_ascii=False, allow_nan=False)
        async with self._changed:
            await self._changed.wait_for(self._has_room)
            self._waiting.append(text)
            self._characters += len(text)
            self._changed.notify_all()

    async def put_error(self, error: ProxyError, event_id: str | None = None) -> None:
        """Queue an `error` event; `event_id`: id of the client's event that caused it."""
        await self.put("error", error={**describe(error), "event_id": event_id})

    async def get(self) -> str:
        """Wait for the next event and return it as JSON."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting)
            self._changed.notify_all()
            return self._pop()

    def take(self) -> str | None:
        """Return the next event without waiting; None if the queue is empty."""
        return self._pop() if self._waiting else None

    def _pop(self) -> str:
        text = self._waiting.popleft()
        self._characters -= len(text)
        return text

    def _has_room(self) -> bool:
        return len(self._waiting) < ROOM and self._characters < ROOM_CHARACTERS


def describe(error: ProxyError) -> dict[str, str | None]:
    """`error` in the form of OpenAI's events."""
    return {
        "type": error.type,
        "code": error.code,
        "message": str(error)[:MAX_MESSAGE],
        "param": error.param and error.param[:MAX_PARAM],
    }


def new_id(kind: str) -> str:
    """Create an id such as `item_2f6b…`."""
    return f"{kind}_{uuid4().hex[:24]}"
