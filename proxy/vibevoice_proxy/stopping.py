"""Rejects requests while the process is shutting down."""

import asyncio
from uuid import uuid4

import anyio
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vibevoice_proxy.errors import RETRY_AFTER_SECONDS, error_body
from vibevoice_proxy.streaming import EVENTS, encode_event

REST_SECONDS = 1.0
"""How long the rest of a rejected upload is read: if a connection is closed while data is still
arriving, the response can be lost."""

_ERROR = error_body(
    "The server is stopping. Try again soon.", type="server_error", code="server_stopping"
)
_RETRY = {"retry-after": str(RETRY_AFTER_SECONDS)}


class Stopping:
    """ASGI middleware. After `begin`, new requests get a 503, responses close their connections,
    and open WebSockets are notified; `cut` ends the requests that are still in flight in the same
    way."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._has_begun = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._told = asyncio.Event()
        """Stored in the state of every WebSocket; signals its session to end."""

    @property
    def in_flight(self) -> int:
        """Number of requests being served."""
        return len(self._tasks)

    def begin(self) -> None:
        """Reject new requests from now on."""
        self._has_begun = True
        self._told.set()

    def cut(self) -> None:
        """Cancel all requests in flight."""
        for task in self._tasks:
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._hold(scope, receive, send)
        elif self._has_begun:
            await _refuse(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _hold(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._has_begun:
            await JSONResponse(_ERROR, 503, _RETRY)(scope, receive, send)
            return
        scope.setdefault("state", {})["stopping"] = self._told
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._app(scope, receive, send)
        finally:
            self._tasks.discard(task)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started: Message | None = None

        async def send_noted(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                if self._has_begun:
                    headers = [*message.get("headers", ()), (b"connection", b"close")]
                    message = {**message, "headers": headers}
                started = message
            await send(message)

        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._app(scope, receive, send_noted)
        except asyncio.CancelledError:
            if not self._has_begun:
                raise
            if started is None:
                await _refuse(scope, receive, send)
            elif (b"content-type", EVENTS.encode()) in started["headers"]:
                await send({"type": "http.response.body", "body": encode_event(_ERROR)})
            # otherwise the server closes the connection, which signals the error
        finally:
            self._tasks.discard(task)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    request_id = scope.get("state", {}).get("request_id") or f"req_{uuid4().hex}"
    answer = JSONResponse(
        _ERROR,
        503,
        {
            "connection": "close",
            **_RETRY,
            "x-request-id": request_id,
        },
    )
    await send({"type": "http.response.start", "status": 503, "headers": answer.raw_headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    with anyio.move_on_after(REST_SECONDS):
        while (await receive()).get("more_body"):
            pass
    await send({"type": "http.response.body", "body": b""})
