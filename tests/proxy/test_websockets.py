"""WebSockets whose clients stop reading or are rejected, over a real socket."""

import asyncio
import logging
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from tests.support.fakes import serve
from tests.support.processes import wait_for

from vibevoice_proxy.http_protocol import HttpProtocol
from vibevoice_proxy.websocket_protocol import WebSocketProtocol

BLOCK = "x" * 10_000
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Impatient(WebSocketProtocol):
    """Gives clients less time, and passes itself to the application."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.close_timeout = 0.2
        self.app_state["protocol"] = self


async def fill(client: WebSocket) -> None:
    """Send until data is buffered for the client, but not so much that sending blocks."""
    while not client.state.protocol.transport.get_write_buffer_size():
        await client.send_text(BLOCK)


async def give_up(client: WebSocket) -> None:
    """Send until the client has read nothing for a while."""
    try:
        while True:
            await asyncio.wait_for(client.send_text(BLOCK), 0.2)
    except TimeoutError:
        pass


async def close(client: WebSocket) -> None:
    """Close while data is buffered for the client."""
    await fill(client)
    await client.close()


async def listen(client: WebSocket) -> None:
    """Wait for a message while data is buffered for the client."""
    await fill(client)
    assert (await client.receive())["type"] == "websocket.disconnect"


@pytest.mark.parametrize("play", [give_up, close, listen])
def test_a_client_that_stops_reading_is_dropped(
    play: Callable[[WebSocket], Awaitable[None]],
) -> None:
    """The client is dropped whether the session gives up, closes, or waits for a message."""
    is_over = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            client = WebSocket(scope, receive, send)
            await client.accept()
            with suppress(WebSocketDisconnect, RuntimeError):  # dropped before it was noticed
                await play(client)
            is_over.set()

    with serve(app, protocol=HttpProtocol, websockets=Impatient, ping_seconds=0.3) as url:
        port = urlsplit(url).port
        with socket.create_connection(("127.0.0.1", port or 0)) as client:
            client.sendall(HANDSHAKE)
            assert is_over.wait(60)
            wait_for(lambda: "ESTABLISHED" not in states(port))


def test_a_refusal_is_not_an_error_of_the_application(caplog: pytest.LogCaptureFixture) -> None:
    """Clients without a key cannot fill the log with errors."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await JSONResponse("no", 401)(scope, receive, send)

    logger = logging.getLogger("uvicorn.error")
    with serve(app, protocol=HttpProtocol, websockets=WebSocketProtocol) as url:
        logger.addHandler(caplog.handler)
        with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)) as client:
            client.sendall(HANDSHAKE)
            answer = client.makefile("rb").read()
    logger.removeHandler(caplog.handler)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert answer.endswith(b'"no"')
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


def states(port: int | None) -> list[str]:
    """The states of this process's connections at the server's `port`."""
    connections = psutil.Process().net_connections("tcp")
    return [connection.status for connection in connections if connection.laddr.port == port]
