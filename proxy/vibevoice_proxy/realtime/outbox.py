"""The events on their way to a client."""

import asyncio
import json
from typing import Any
from uuid import uuid4

from vibevoice_proxy.errors import ProxyError

ROOM = 256
"""Events that wait for a slow reader; whoever has more to tell waits."""


class Outbox:
    """Gives events their ids and keeps their order."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[str] = asyncio.Queue(ROOM)

    async def put(self, type: str, **fields: Any) -> None:
        """Add an event."""
        event = {"type": type, "event_id": new_id("event"), **fields}
        await self._waiting.put(json.dumps(event, ensure_ascii=False, allow_nan=False))

    async def put_error(self, error: ProxyError, event_id: str | None = None) -> None:
        """Add an `error`; `event_id` is that of the client's event that is wrong."""
        await self.put("error", error={**describe(error), "event_id": event_id})

    async def get(self) -> str:
        """The next event as JSON."""
        return await self._waiting.get()

    def take(self) -> str | None:
        """The next one if there is one."""
        return None if self._waiting.empty() else self._waiting.get_nowait()


def describe(error: ProxyError) -> dict[str, str | None]:
    """`error` as OpenAI writes it in events."""
    return {"type": error.type, "code": error.code, "message": str(error), "param": error.param}


def new_id(kind: str) -> str:
    """An id such as `item_2f6b…`."""
    return f"{kind}_{uuid4().hex[:24]}"
