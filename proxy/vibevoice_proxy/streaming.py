"""Streaming responses."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vibevoice_proxy.disconnect import until_disconnect
from vibevoice_proxy.errors import ProxyError, error_body

EVENTS = "text/event-stream; charset=utf-8"

logger = logging.getLogger(__name__)


class StreamedAnswer(Response):
    """Sends `chunks` as they arrive; the response begins with the first.

    Errors before the first chunk are raised and get their own HTTP status. A later error becomes
    the last event of an event stream; in any other format it cannot be reported, so the connection
    is closed early. `chunks` and `cleanup` are closed at the end, when the client disconnects, and
    when it reads nothing for `send_timeout` seconds.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[bytes],
        media_type: str,
        *,
        cleanup: AsyncExitStack | None = None,
        send_timeout: float | None = None,
        more_headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """`more_headers`: called when the response begins."""
        # x-accel-buffering makes nginx forward data without buffering.
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.headers["content-type"] = media_type
        self._chunks = chunks
        self._cleanup = cleanup or AsyncExitStack()
        self._send_timeout = send_timeout
        self._more_headers = more_headers
        self._has_begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._cleanup, aclosing(self._chunks):
            try:
                await until_disconnect(Request(scope, receive), partial(self._send_chunks, send))
            except ClientDisconnect:
                if not self._has_begun:
                    raise
                logger.info("the client disconnected during the response")

    async def _send_chunks(self, send: Send) -> None:
        try:
            async for chunk in self._chunks:
                await self._send(send, chunk)
        except ProxyError as error:
            if not self._has_begun:
                raise
            logger.warning("the response ended with an error: %s", error)
            if self.headers["content-type"] != EVENTS:
                return  # without ending the body: the server closes the connection
            body = error_body(str(error), type=error.type, param=error.param, code=error.code)
            await self._send(send, encode_event(body))
        except TimeoutError:
            logger.warning("the client read nothing for %g s", self._send_timeout)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, chunk: bytes) -> None:
        async with asyncio.timeout(self._send_timeout):
            if not self._has_begun:
                self._has_begun = True
                self.headers.update(self._more_headers())
                await send(
                    {
                        "type": "http.response.start",
                        "status": self.status_code,
                        "headers": self.raw_headers,
                    }
                )
            await send({"type": "http.response.body", "body": chunk, "more_body": True})


def encode_event(data: dict[str, Any]) -> bytes:
    """One server-sent event in OpenAI's format, without an event name."""
    return f"data: {json.dumps(data, ensure_ascii=False, allow_nan=False)}\n\n".encode()
