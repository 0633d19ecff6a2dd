"""One transcription over HTTP: the upload, and what each answer means for the run."""

import asyncio
import os
import socket
from types import TracebackType
from typing import Any, Self

import httpx2

from vibevoice_batch.outputs import Transcript
from vibevoice_batch.recordings import InputError, Recording
from vibevoice_core import headers

TRUNCATED = (headers.TRUNCATED, f"llm_provider-{headers.TRUNCATED}")
"""Headers that say why a transcript misses a part: the proxy's, and as LiteLLM hands it on, which
does not leave it in the body."""
LONGEST_WAIT = 300.0
"""Seconds; a `Retry-After` above is cut to it."""


class Failure(Exception):
    """A recording has no transcript, and asking again now would not help."""

    def __init__(self, message: str, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Busy(Exception):
    """The server cannot take the recording now, but later: it is full, starting, or not there."""

    def __init__(self, message: str, retry_after: float | None, is_full: bool) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the server asked for."""
        self.is_full = is_full


class ConnectionLost(Exception):
    """The connection broke on the way: a server that was restarted, or died of the recording."""


class Refused(Exception):
    """The server refuses whatever is sent to it in this way: a wrong key, URL or model."""


class Client:
    """The transcription endpoint of an OpenAI-compatible server: our proxy, or LiteLLM."""

    def __init__(self, base_url: str, api_key: str, model: str, timeout: float) -> None:
        """`timeout`: seconds that one answer may take. Raises InputError: no http(s) URL."""
        try:
            self._url = httpx2.URL(f"{base_url.rstrip('/')}/audio/transcriptions")
        except httpx2.InvalidURL as error:
            raise InputError(f"the base URL is wrong: {error}") from error
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise InputError(f"expected a URL like http://127.0.0.1:8899/v1, got {base_url!r}")
        self._model = model
        # Minutes pass between an upload and its answer: routers on the way must not forget the
        # connection. Reused ones are dropped before servers drop them (uvicorn: after 5 s).
        self._http = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(
                limits=httpx2.Limits(max_connections=None, keepalive_expiry=2.0),
                socket_options=[
                    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
                    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
                ],
            ),
            timeout=httpx2.Timeout(60, connect=10, read=timeout, pool=None),
            headers={"authorization": f"Bearer {api_key}"} if api_key else None,
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

    async def transcribe(self, recording: Recording) -> Transcript:
        """The transcript of a recording, uploaded from disk as it is read.

        Raises:
            Failure, Busy, ConnectionLost, Refused: what the answer, or its absence, means.
        """
        fields = {
            ("keywords[]" if key == "keywords" else key): value
            for key, value in recording.fields.items()
        }
        data = {"model": self._model, "response_format": "diarized_json", **fields}
        filename = os.fsencode(recording.path.name).decode(errors="replace")
        try:
            with await asyncio.to_thread(recording.path.open, "rb") as file:
                answer = await self._http.post(
                    self._url, data=data, files={"file": (filename, file)}
                )
        except OSError as error:
            raise Failure(f"cannot be read: {error.strerror}") from error
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise Busy("the server cannot be reached", None, is_full=False) from error
        except httpx2.ReadTimeout as error:
            raise Failure("no answer in time") from error
        except httpx2.LocalProtocolError as error:
            raise Failure("the file changed while it was sent") from error
        except httpx2.DecodingError as error:
            raise Failure("the server's answer cannot be decoded") from error
        except httpx2.RequestError as error:
            raise ConnectionLost("the connection was lost") from error
        return read_answer(answer)


def read_answer(answer: httpx2.Response) -> Transcript:
    """The transcript in an answer.

    Raises:
        Failure, Busy, Refused: there is none.
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
    if status in (401, 403, 404, 405, 407) or status < 400:
        raise Refused(f"{answer.url} answers {status}: {message}")
    raise Failure(message, status, code)


def read_transcript(body: Any) -> Transcript:
    """`body` if it is a `diarized_json` answer. Raises Failure otherwise."""
    segments = body.get("segments") if isinstance(body, dict) else None
    if not isinstance(segments, list) or not all(map(_is_segment, segments)):
        raise Failure("the server's answer is no diarized_json", 200)
    return body


def _is_segment(segment: Any) -> bool:
    """Whether there is what the formats need."""
    return (
        isinstance(segment, dict)
        and all(isinstance(segment.get(key), int | float) for key in ("start", "end"))
        and all(isinstance(segment.get(key), str) for key in ("text", "speaker"))
    )


def _json(answer: httpx2.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _error(answer: httpx2.Response) -> tuple[str, str | None]:
    """Message and code of OpenAI's error body, or what else the server said."""
    body = _json(answer)
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return error["message"], error.get("code")
    return " ".join(answer.text.split())[:200] or answer.reason_phrase, None


def _retry_after(answer: httpx2.Response) -> float | None:
    """Seconds, from a number (RFC 9110 allows dates too: those are left to the back-off)."""
    try:
        seconds = float(answer.headers.get("retry-after", ""))
    except ValueError:
        return None
    return min(LONGEST_WAIT, seconds) if seconds > 0 else None
