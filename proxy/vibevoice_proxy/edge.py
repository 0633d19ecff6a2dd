"""The edge of the process: every request gets an id, and every failure an answer."""

import logging
from time import monotonic
from uuid import uuid4

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vibevoice_proxy.errors import error_body
from vibevoice_proxy.logs import REQUEST_ID

logger = logging.getLogger(__name__)
PROBES = ("/health", "/health/live", "/metrics")
"""What health checks and Prometheus ask for every few seconds."""


class RequestId:
    """ASGI middleware: `request.state.request_id`, the header `x-request-id` on every answer and
    the id on every log line; one log line for each answer, at DEBUG for a probe that succeeds; and
    a 500 in OpenAI's shape, which tells the id and nothing else, for a bug of ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = monotonic()
        request_id = f"req_{uuid4().hex}"
        scope.setdefault("state", {})["request_id"] = request_id
        header = (b"x-request-id", request_id.encode())
        # Escaped as it came: no line of the log is the client's own.
        asked = f"{scope['method']} {scope['raw_path'].decode('ascii', 'backslashreplace')}"
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        token = REQUEST_ID.set(request_id)
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            logger.exception("%s failed", asked)
            if status is not None:
                raise  # the server cuts the connection, which tells the client
            body = error_body(
                f"Internal error. The server's log has the details of {request_id}.",
                type="server_error",
                code="internal_error",
            )
            await JSONResponse(body, 500)(scope, receive, send_with_id)
        finally:
            is_dull = status == 200 and scope["path"] in PROBES
            level = logging.DEBUG if is_dull else logging.INFO
            logger.log(level, "%s: %s in %.3f s", asked, status, monotonic() - started)
            REQUEST_ID.reset(token)
