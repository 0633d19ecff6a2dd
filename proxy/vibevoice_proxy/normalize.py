"""Normalizes the paths and methods of requests to those that the routes expect."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

_SLASHES = re.compile("/{2,}")
_DOUBLED = re.compile(r"/v1(?:/v1)+(?=/|$)")


def normalize_path(path: str) -> str:
    """Remove doubled and trailing slashes and a repeated `/v1` from `path`. Such paths come from a
    base URL that ends with a slash, or from a client that adds `/v1` to a base URL that already has
    it. No route of this server has such a path.
    """
    path = _SLASHES.sub("/", path)
    path = _DOUBLED.sub("/v1", path)
    return path.rstrip("/") or "/"


class NormalizeRequest:
    """ASGI middleware: normalizes paths and supports HEAD on every GET route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        changed = {**scope, "path": normalize_path(scope["path"])}
        if scope.get("method") == "HEAD":
            changed["method"] = "GET"  # the server omits the body
        try:
            await self._app(changed, receive, send)
        finally:
            if "route" in changed:
                scope["route"] = changed["route"]
