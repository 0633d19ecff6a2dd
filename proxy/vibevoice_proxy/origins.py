"""Restricts which web pages may use a server without API keys."""

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from vibevoice_proxy.errors import error_body

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Read-only methods. CORS keeps pages of other origins from reading the responses."""
_OWN_SITES = ("same-origin", "none")
"""Values of Sec-Fetch-Site for this server's own pages and for addresses that the user enters."""


class CheckOrigin:
    """ASGI middleware: 403 for pages of other origins, unless they are listed.

    Browsers let any page send a form to any server, or open a WebSocket to it, even to a server on
    the visitor's own machine. This checks the headers in which browsers name the page, as
    CrossOriginProtection in Go's net/http does. Other programs do not send these headers.

    A page can also make its own host name point to 127.0.0.1 (DNS rebinding), and is of the same
    origin then. So a server that listens on a loopback address only accepts the names of such
    addresses from browsers, and the hosts of the listed origins.
    """

    def __init__(self, app: ASGIApp, *, origins: Collection[str], api_host: str) -> None:
        """`origins`: allowed in addition to the server's own. `api_host`: the address it listens
        on."""
        self._app = app
        self._origins = origins
        self._hosts = {_host_name(origin.rpartition("://")[2]) for origin in origins}
        self._is_local = is_loopback(api_host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reason = self._refuse(scope) if scope["type"] in ("http", "websocket") else None
        if reason is None:
            await self._app(scope, receive, send)
            return
        body = error_body(reason, type="invalid_request_error", code="forbidden")
        await JSONResponse(body, 403)(scope, receive, send)

    def _refuse(self, scope: Scope) -> str | None:
        """Why the request is rejected, or None if it is allowed."""
        headers = Headers(scope=scope)
        origin, site = headers.get("origin", ""), headers.get("sec-fetch-site", "")
        if origin in self._origins or not (origin or site):
            return None
        host = headers.get("host", "").lower()
        name = _host_name(host)
        if self._is_local and not is_loopback(name) and name not in self._hosts:
            return (
                f"Browsers may not use this server as {host[:200]!r}: it listens on a loopback "
                "address and has no API keys. Add the origin of its pages to "
                "VIBEVOICE_CORS_ORIGINS to allow it."
            )
        if scope.get("method") in SAFE_METHODS:  # WebSockets have no method
            return None
        if site in _OWN_SITES or origin.lower() in (f"http://{host}", f"https://{host}"):
            return None
        return (
            f"Pages of {origin[:200] or 'other sites'} may not use this server, since it has no "
            "API keys. Add their origin to VIBEVOICE_CORS_ORIGINS to allow them."
        )


def _host_name(host: str) -> str:
    """The name or address in a Host header, without its port and brackets; empty if invalid."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_loopback(name: str) -> bool:
    """Whether `name` always means this machine (RFC 6761, 6.3)."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
