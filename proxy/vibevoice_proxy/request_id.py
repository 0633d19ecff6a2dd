"""The edge of the process: every request gets an id, and every failure an answer."""

import json
import logging
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vibevoice_proxy.errors import error_body

logger = logging.getLogger(__name__)


class RequestId:
    """ASGI middleware: `request.state.request_id`, the header `x-request-id` on every answer, and a
    500 in OpenAI's shape, which tells the id and nothing else, for a bug of ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{uuid4().hex}"
        scope.setdefault("state", {})["request_id"] = request_id
        header = (b"x-request-id", request_id.encode())
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            logger.exception("%s failed: %s %s", request_id, scope["method"], scope["path"])
            if started:
                raise  # the server cuts the connection, which tells the client
            body = json.dumps(
                error_body(
                    f"Internal error. The server's log has the details of {request_id}.",
                    type="server_error",
                    code="internal_error",
                )
            ).encode()
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ]
            await send_with_id({"type": "http.response.start", "status": 500, "headers": headers})
            await send_with_id({"type": "http.response.body", "body": body})
