"""Assigns an id to every request and a response to every failure."""

import logging
from time import monotonic
from uuid import uuid4

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vibevoice_proxy.errors import error_body
from vibevoice_proxy.logs import REQUEST_ID

logger = logging.getLogger(__name__)
PROBES = ("/health", "/health/live", "/metrics")
"""Paths that health checks and Prometheus request every few seconds."""


class RequestId:
    """ASGI middleware. Sets `request.state.request_id`, the header `x-request-id` of every response
    and the id in every log line; logs one line per response (at DEBUG for successful probes); turns
    unhandled exceptions into an OpenAI-style 500 that only contains the id."""

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
        # The escaped path: clients cannot inject lines into the log.
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
                raise  # the server closes the connection, which signals the error
            body = error_body(
                f"Internal error. See the server's log for request {request_id}.",
                type="server_error",
                code="internal_error",
            )
            await JSONResponse(body, 500)(scope, receive, send_with_id)
        finally:
            is_dull = status == 200 and scope["path"] in PROBES
            level = logging.DEBUG if is_dull else logging.INFO
            logger.log(level, "%s: %s in %.3f s", asked, status, monotonic() - started)
            REQUEST_ID.reset(token)
