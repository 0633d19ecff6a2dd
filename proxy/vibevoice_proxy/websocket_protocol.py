"""uvicorn's WebSocket protocol, extended to drop clients that stop reading."""

import asyncio

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection.

    uvicorn closes a connection only after the client has read everything in the send buffer. A
    client that reads nothing would keep its connection open forever, so it is aborted.
    """

    _abort_timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        super().connection_lost(exc)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True  # otherwise uvicorn logs the rejection as an error

    async def run_asgi(self) -> None:
        await super().run_asgi()
        if self.disconnected:
            return
        if self.close_sent or self.writable.is_set():
            self._abort_timer = self.loop.call_later(self.close_timeout, self.transport.abort)
        else:  # the application has already waited for the client
            self.transport.abort()
