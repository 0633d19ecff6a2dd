"""The interface between a connection and its session, for sessions of both types."""

from typing import Protocol


class Session(Protocol):
    """The session of one connection. It puts its events into an outbox."""

    async def begin(self) -> None:
        """Send `session.created`."""
        ...

    async def handle(self, message: str) -> None:
        """Handle one event of the client. The connection handles no other message until this
        returns. Raises InvalidEvent or another ProxyError if the event fails; the session
        continues."""
        ...

    async def finish(self) -> None:
        """Finish pending work before the session ends. No event is handled afterwards."""
        ...

    async def run(self) -> None:
        """Run the session until cancelled."""
        ...
