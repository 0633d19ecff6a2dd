"""What a connection asks of its session, whatever its type."""

from typing import Protocol


class Session(Protocol):
    """The conversation of one connection. What it has to tell goes into its outbox."""

    async def begin(self) -> None:
        """Tell the client that the session is there."""
        ...

    async def handle(self, message: str) -> None:
        """Follow an event of the client. Messages come one after the other; while one is handled,
        nothing else is read. Raises InvalidEvent, or another ProxyError, for an event that cannot
        be followed: the session goes on."""
        ...

    async def finish(self) -> None:
        """Do what was begun: the session ends. No event is handled after it."""
        ...

    async def run(self) -> None:
        """Work until cancelled."""
        ...
