"""Checks API keys."""

import codecs
import hmac
import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from vibevoice_proxy.client_secrets import PREFIX, ClientSecrets
from vibevoice_proxy.errors import error_body
from vibevoice_proxy.setting_checks import check_client_key
from vibevoice_proxy.settings import Settings

ALWAYS_OPEN = frozenset({"/health", "/health/live"})
REALTIME = frozenset({"/v1/realtime", "/realtime"})
"""The only paths that accept client secrets."""
KEY_PROTOCOL = "openai-insecure-api-key."
"""Prefix of the WebSocket subprotocol in which browsers send a key, since they cannot set
headers."""
LISTING = re.compile(
    r"/|/docs|/redoc|/openapi\.json|(/v1)?/models(/.*)?|(/v1)?/audio/(models|voices)"
)
"""Paths that only list what is served. Open WebUI fetches its listings without a key."""


def read_api_keys(settings: Settings) -> list[str]:
    """The keys of the setting and of the file, which has one key per line; `#` starts a comment.

    Raises ValueError if the file cannot be read, contains no key, or contains a key that not every
    client can send: a server meant to be protected must not start open.
    """
    keys = [key.get_secret_value() for key in settings.api_keys]
    if settings.api_keys_file:
        keys += _read_file(Path(settings.api_keys_file))
    return keys


def _read_file(file: Path) -> list[str]:
    name = "VIBEVOICE_API_KEYS_FILE"
    try:
        lines = file.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
    except OSError as error:
        raise ValueError(f"{name}: {file} cannot be read: {error.strerror}") from error
    keys = []
    for number, line in enumerate(lines, 1):
        if key := line.partition(b"#")[0].strip().decode("latin-1"):
            check_client_key(key, f"{name}: line {number} of {file}")
            keys.append(key)
    if not keys:
        raise ValueError(f"{name}: {file} contains no key")
    return keys


class ApiKeys:
    """ASGI middleware: returns 401 for requests without one of `keys`, before reading the body.
    Only health checks and, unless closed, the listings need no key. Realtime sessions also accept a
    client secret; its session configuration is then in `state.client_secret`."""

    def __init__(
        self, app: ASGIApp, keys: Iterable[str], open_listings: bool, secrets: ClientSecrets
    ) -> None:
        """Empty `keys` disable authentication."""
        self._app = app
        self._secrets = secrets
        self._digests = [sha256(key.encode()).digest() for key in keys]
        self._open_listings = open_listings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._is_open(scope):
            await self._app(scope, receive, send)
            return
        key = _key_of(scope)
        if scope["type"] == "websocket" and key.startswith(PREFIX):
            session = self._secrets.read(key) if scope["path"] in REALTIME else None
            if session is not None:
                scope.setdefault("state", {})["client_secret"] = session
                await self._app(scope, receive, send)
                return
        elif not self._digests or self._is_known(key):
            await self._app(scope, receive, send)
            return
        message = (
            "The client secret has expired or is not valid for this path."
            if key.startswith(PREFIX)
            else "Incorrect API key provided."
            if key
            else "No API key provided; expected the header Authorization: Bearer KEY."
        )
        body = error_body(message, type="invalid_request_error", code="invalid_api_key")
        refusal = JSONResponse(body, 401, {"www-authenticate": "Bearer"})
        await refusal(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        if scope.get("method") not in ("GET", "HEAD"):  # WebSockets have no method
            return False
        path = scope["path"]
        return path in ALWAYS_OPEN or (self._open_listings and LISTING.fullmatch(path) is not None)

    def _is_known(self, key: str) -> bool:
        """Compares digests of equal length with every key, so timing reveals nothing."""
        digest = sha256(key.encode("latin-1")).digest()  # the header's bytes
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(matches)


def _key_of(scope: Scope) -> str:
    """The key of a request; empty if there is none."""
    headers = Headers(scope=scope)
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip(" \t")
    offered: list[str] = scope.get("subprotocols", [])
    keys = [name for name in offered if name.startswith(KEY_PROTOCOL)]
    return keys[0].removeprefix(KEY_PROTOCOL) if keys else ""
