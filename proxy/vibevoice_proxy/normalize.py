"""Requests as clients write them, in the form that routes expect."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

_SLASHES = re.compile("/{2,}")
_DOUBLED = re.compile(r"/v1(?:/v1)+(?=/|$)")


def normalize_path(path: str) -> str:
    """`path` without doubled or trailing slashes, and with `/v1` once.

    A base URL that ends with a slash, or a client that adds `/v1` to one that has it, gives such
    paths; no route of this server looks like them.
    """
    path = _SLASHES.sub("/", path)
    path = _DOUBLED.sub("/v1", path)
    return path.rstrip("/") or "/"


class NormalizeRequest:
    """ASGI middleware: normalizes paths, and answers HEAD wherever GET is answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        changed = {**scope, "path": normalize_path(scope["path"])}
        if scope.get("method") == "HEAD":
            changed["method"] = "GET"  # the server leaves the body out
        try:
            await self._app(changed, receive, send)
        finally:
            if "route" in changed:
                scope["route"] = changed["route"]
