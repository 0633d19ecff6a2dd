"""Connects to the server, and explains why a connection failed."""

import json
import os
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidProxy, InvalidStatus, ProxyError
from websockets.http11 import Response

from vibevoice_batch.errors import InputError, Refused
from vibevoice_batch.server import START, authorization, endpoint, shown, trust

PING_SECONDS = 20.0
PONG_SECONDS = 120.0
"""A busy server stops reading for a while and does not answer pings in that time."""


@dataclass(frozen=True)
class Server:
    """The server that runs the sessions."""

    url: httpx2.URL
    """ws:// or wss://"""
    headers: Mapping[str, str]
    tls: ssl.SSLContext | None


def find_server(base_url: str, api_key: str | None, ca_file: Path | None) -> Server:
    """The server at a base URL such as http://127.0.0.1:8899/v1; ws:// and wss:// work as well.
    Raises InputError if the URL, the key or the certificates are invalid.
    """
    given = base_url.strip()
    if given.startswith(("ws://", "wss://")):
        given = f"http{given.removeprefix('ws')}"
    url = endpoint(given, "/realtime")
    is_secure = url.scheme == "https"
    return Server(
        url.copy_with(scheme="wss" if is_secure else "ws").copy_merge_params(
            {"intent": "transcription"}
        ),
        authorization(api_key, url),
        trust(ca_file) if is_secure else None,
    )


@asynccontextmanager
async def connected(server: Server) -> AsyncGenerator[ClientConnection]:
    """An open connection. Raises Refused if the server cannot be reached or rejects it, and
    InputError for an unusable proxy."""
    where = shown(server.url.copy_with(query=None))
    try:
        connection = await connect(
            str(server.url),
            additional_headers=dict(server.headers),
            ssl=server.tls,
            ping_interval=PING_SECONDS,
            ping_timeout=PONG_SECONDS,
        )
    except InvalidStatus as error:
        status = error.response.status_code
        message = f"{where} returned {status}: {_message(error.response)}"
        hint = _hint(status, "authorization" in server.headers)
        raise Refused(f"{message} ({hint})" if hint else message) from error
    except ssl.SSLCertVerificationError as error:
        raise Refused(
            f"the certificate at {where} is not trusted: {error.verify_message}. Trust "
            "the certificate of its issuer with --ca-file FILE or SSL_CERT_FILE"
        ) from error
    except ssl.SSLError as error:
        hint = "; is it http://?" if error.reason == "WRONG_VERSION_NUMBER" else ""
        raise Refused(f"no TLS with {where}: {error.reason or error}{hint}") from error
    except (InvalidProxy, ProxyError) as error:
        raise Refused(f"the proxy cannot reach {where}: {error}") from error
    except InvalidHandshake as error:
        raise Refused(f"{where} did not respond as a WebSocket server: {error}") from error
    except TimeoutError as error:
        raise Refused(f"{where} did not respond within 10 s") from error
    except ImportError as error:  # for a SOCKS proxy
        raise InputError(str(error)) from error
    except OSError as error:
        # asyncio's message repeats the address; a resolver's error numbers are negative.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise Refused(f"{where} cannot be reached: {why or error} ({START})") from error
    async with connection:
        yield connection


def _message(response: Response) -> str:
    """The message in OpenAI's error body, or else the server's response."""
    text = bytes(response.body or b"").decode(errors="replace")
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, TypeError, KeyError):
        return " ".join(text.split())[:200] or response.reason_phrase


def _hint(status: int, has_key: bool) -> str:
    url = "is the base URL right? It usually ends in /v1"
    key = "is VIBEVOICE_API_KEY valid for this server?" if has_key else "set VIBEVOICE_API_KEY"
    match status:
        case 401:
            return key
        case 403:  # also from servers without such a WebSocket
            return f"{key}; {url}"
        case 404 | 405:
            return url
        case 429 | 503:
            return "try again later"
        case _:
            return ""
