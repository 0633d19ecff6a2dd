"""Sends one transcription request over HTTP and interprets the response."""

import asyncio
import math
import os
import re
import socket
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from vibevoice_batch.errors import Busy, ConnectionLost, Failure, Refused
from vibevoice_batch.outputs import Transcript
from vibevoice_batch.recordings import Recording
from vibevoice_batch.server import START, authorization, endpoint, proxy, shown, trust
from vibevoice_batch.speakers import FIELD, KnownSpeakers
from vibevoice_core import headers

TRUNCATED = (headers.TRUNCATED, f"llm_provider-{headers.TRUNCATED}")
"""Headers that say why a transcript is incomplete: the proxy's own, and the name under which
LiteLLM passes it on, since it drops the reason from the body."""
LONGEST_WAIT = 300.0
"""Maximum seconds; a larger `Retry-After` is reduced to this."""
_CHECK_SECONDS = 10.0
_PROXY_LOGIN = "set HTTP_PROXY or HTTPS_PROXY to http://USER:PASSWORD@HOST:PORT"
_WANTS_TLS = re.compile(r"HTTP request (was sent )?to (an )?HTTPS|plain HTTP to an SSL", re.I)
"""How nginx, Go, and Apache respond to http:// on a port for https://."""


class Client:
    """The transcription endpoint of an OpenAI-compatible server: our proxy or LiteLLM."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        model: str,
        timeout: float,
        ca_file: Path | None = None,
        known: KnownSpeakers | None = None,
    ) -> None:
        """`timeout`: maximum seconds for one response; `ca_file`: certificates to trust in addition
        to the system's; `known`: speakers to send with every recording. Raises InputError if one
        of them, or a proxy in the environment, is invalid."""
        self._url = endpoint(base_url)
        self._model = model
        self._known = known or KnownSpeakers()
        self._has_key = api_key is not None
        self._has_answered = False
        context = trust(ca_file)
        way = proxy(self._url, urllib.request.getproxies(), context)
        self._proxy = None if way is None else way.url
        # Minutes pass between an upload and its response: keep-alive probes prevent routers from
        # dropping the connection. Idle connections are closed before the server closes them
        # (uvicorn: after 5 s).
        self._http = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(
                verify=context,
                proxy=way,
                limits=httpx2.Limits(max_connections=None, keepalive_expiry=2.0),
                socket_options=[
                    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
                    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
                ],
            ),
            timeout=httpx2.Timeout(60, connect=10, read=timeout, pool=None),
            headers=authorization(api_key, self._url),
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

    async def transcribe(self, recording: Recording, _: str) -> Transcript:
        """Transcribe a recording, which is streamed from disk. The second argument is not used.

        Raises:
            Failure, Busy, ConnectionLost, Refused: there is no transcript; the class says why.
        """
        fields = {
            ("keywords[]" if key == "keywords" else key): value
            for key, value in recording.fields.items()
            if key != FIELD
        }
        data = {"model": self._model, "response_format": "diarized_json", **fields}
        data |= self._known.form
        filename = os.fsencode(recording.path.name).decode(errors="replace")
        try:
            with await asyncio.to_thread(recording.path.open, "rb") as file:
                answer = await self._http.post(
                    self._url, data=data, files={"file": (filename, file)}
                )
        except OSError as error:
            raise Failure(f"cannot be read: {error.strerror}") from error
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            raise self._not_reached(error) from error
        except httpx2.ReadTimeout as error:
            raise Failure("the server did not respond in time") from error
        except httpx2.LocalProtocolError as error:
            raise Failure("the file changed during the upload") from error
        except httpx2.DecodingError as error:
            raise Failure("the server's response cannot be decoded") from error
        except httpx2.RequestError as error:
            raise await self._lost() from error
        self._has_answered = True
        return self._read(answer)

    async def _lost(self) -> Busy | ConnectionLost:
        """Classify a broken connection. If the server has never answered, send a request without a
        recording. If that breaks the connection too, no HTTP server is ready there; if not, the
        recording is the cause."""
        if not self._has_answered:
            try:
                await self._http.get(self._url, timeout=_CHECK_SECONDS)
                self._has_answered = True
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
                return Busy(
                    f"{self._where} closes connections without an HTTP response: is the address "
                    "right (port, https://), or is the server still starting?",
                    None,
                    is_full=False,
                )
            except httpx2.RequestError:
                pass  # the next attempt reports it
        return ConnectionLost("the connection was lost")

    @property
    def _where(self) -> str:
        """The server, for messages."""
        where = shown(self._url.copy_with(path="/", query=None)).rstrip("/")
        if self._proxy:
            where += f" through the proxy {shown(self._proxy).rstrip('/')}"
        return where

    def _not_reached(self, error: httpx2.TransportError) -> Busy | Refused:
        """Classify the failure to connect to the server."""
        where = self._where
        if isinstance(error, httpx2.ProxyError):
            said = str(error)
            if said.startswith("407"):
                return Refused(f"the proxy {self._proxy} requires a login: {_PROXY_LOGIN}")
            if said[:1] == "4":
                return Refused(f"the proxy {self._proxy} refuses {self._url.host}: {said}")
            return Busy(f"the server cannot be reached at {where}: {said}", None, is_full=False)
        causes = list(_causes(error))
        for cause in causes:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return Refused(
                    f"the certificate of {where} is not trusted: {cause.verify_message}. If it is "
                    "correct, add the issuer's certificate with --ca-file FILE or "
                    "SSL_CERT_FILE"
                )
            if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
                hint = "; should it be http://?" if cause.reason == "WRONG_VERSION_NUMBER" else ""
                return Refused(f"no TLS connection to {where}: {cause.reason or cause}{hint}")
        reasons = [_words(cause) for cause in causes if isinstance(cause, OSError)]
        why = next(filter(None, reasons[::-1]), "it did not respond within 10 s")
        said = f"the server cannot be reached at {where}: {why} ({START})"
        return Busy(said, None, is_full=False)

    def _read(self, answer: httpx2.Response) -> Transcript:
        """Read the transcript from a response.

        Raises:
            Failure, Busy, Refused: the response does not contain one.
        """
        status = answer.status_code
        if status == 200:
            transcript = read_transcript(_json(answer))
            for name in TRUNCATED:
                if reason := answer.headers.get(name):
                    transcript.setdefault("truncated", reason)
            return transcript
        message, code = _error(answer)
        if status in (429, 503) and answer.headers.get("x-should-retry") != "false":
            raise Busy(message, _retry_after(answer), is_full=status == 429)
        wants_tls = status == 400 and _WANTS_TLS.search(message)
        if status in (401, 403, 404, 405, 407) or status < 400 or wants_tls:
            hint = "should it be https://?" if wants_tls else self._hint(answer)
            said = f"{shown(answer.url)} returned {status}: {message}"
            raise Refused(f"{said} ({hint})" if hint else said)
        if status == 400 and (_param(answer) or "").startswith("known_speaker_"):
            raise Refused(self._known.rejected(message))
        raise Failure(message, status, code)

    def _hint(self, answer: httpx2.Response) -> str:
        """What to change if a server rejects every request."""
        status = answer.status_code
        if status in (401, 403):
            if self._has_key:
                return "VIBEVOICE_API_KEY is not valid for this server or model"
            return "set VIBEVOICE_API_KEY to the server's key"
        if status == 407:
            return _PROXY_LOGIN
        if _error(answer)[1] == "model_not_found":
            return "set --model"
        if status in (404, 405):
            return "is the base URL right? It usually ends in /v1"
        if location := answer.headers.get("location"):
            return f"it redirects to {location}: is that the base URL?"
        return ""


def _words(error: OSError) -> str | None:
    """The system's message; asyncio's own messages repeat the address."""
    if not error.errno or isinstance(error, socket.gaierror):
        return error.strerror
    return os.strerror(error.errno)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and its chain of causes; of an exception group, the last error."""
    cause: BaseException | None = error
    while cause:
        yield cause
        group = cause.__cause__ or cause.__context__
        cause = group.exceptions[-1] if isinstance(group, BaseExceptionGroup) else group


def read_transcript(body: Any) -> Transcript:
    """Return `body` if it is a `diarized_json` response. Raises Failure otherwise."""
    segments = body.get("segments") if isinstance(body, dict) else None
    if not isinstance(segments, list) or not all(map(_is_segment, segments)):
        raise Failure("the server's response is not diarized_json", 200)
    return body


def _is_segment(segment: Any) -> bool:
    """Whether `body` has the fields that the output formats need."""
    return (
        isinstance(segment, dict)
        and all(_is_time(segment.get(key)) for key in ("start", "end"))
        and all(isinstance(segment.get(key), str) for key in ("text", "speaker"))
    )


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _json(answer: httpx2.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _error(answer: httpx2.Response) -> tuple[str, str | None]:
    """Message and code of an OpenAI error body, or else the body's text."""
    body = _json(answer)
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return error["message"], error.get("code")
    return " ".join(answer.text.split())[:200] or answer.reason_phrase, None


def _param(answer: httpx2.Response) -> str | None:
    """The field that OpenAI's error body names."""
    body = _json(answer)
    error = body.get("error") if isinstance(body, dict) else None
    param = error.get("param") if isinstance(error, dict) else None
    return param if isinstance(param, str) else None


def _retry_after(answer: httpx2.Response) -> float | None:
    """Seconds, if given as a number (RFC 9110 also allows dates; those use the back-off)."""
    try:
        seconds = float(answer.headers.get("retry-after", ""))
    except ValueError:
        return None
    return min(LONGEST_WAIT, seconds) if seconds > 0 else None
