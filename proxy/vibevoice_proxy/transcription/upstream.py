"""Client for the engine: sends a section and streams the model's text."""

import base64
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from errno import ENOTCONN
from time import monotonic
from typing import Any

import httpx2
from anyio import to_thread

from vibevoice_core import headers
from vibevoice_core.penalties import pinned_penalties
from vibevoice_proxy.errors import (
    InvalidAudio,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.transcription.chat import Attempt, chat_request
from vibevoice_proxy.transcription.sections import Section

BASE64_BLOCK = 3 * 256 * 1024
"""Bytes of audio encoded at a time; a multiple of 3, so that the parts join without padding."""
ERROR_BODY_LIMIT = 4096
"""Maximum bytes of the engine's error message that are logged."""
CONNECT_RETRIES = 2
"""After 0 and 0.5 s. Nothing has been sent by then, so a retry is safe."""
REFUSED = (
    "The engine rejected the recording. It accepts up to about an hour of speech, which must fit "
    "in its context together with the prompt."
)
KEEPALIVE_SECONDS = 2
"""Less than the 5 s after which vLLM closes an idle connection, so a closing connection is never
reused."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next chunk of the model's text."""

    text: str


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The engine's token counts."""

    prompt: int
    completion: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Why the model stopped: `stop`, `length` if it ran out of tokens, or `abort` if the engine
    stopped it."""

    reason: str


UpstreamEvent = TextDelta | TokenCount | Finish


class Upstream:
    """Sends requests to the engine through one pooled HTTP client."""

    def __init__(self, client: httpx2.AsyncClient, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._penalties = pinned_penalties(settings.penalties)

    async def complete(
        self, section: Section, info: str, request_id: str, attempt: Attempt
    ) -> AsyncGenerator[UpstreamEvent]:
        """Stream the model's response for `section`. Close the iterator to stop the engine.

        Raises InvalidAudio if the engine rejects the recording, and UpstreamError if the response
        is incomplete for any other reason.
        """
        settings = self._settings
        head, tail = chat_request(
            settings.served_model_name,
            section.duration,
            info,
            section.media_type,
            attempt,
            self._penalties,
        )
        length = len(head) + 4 * -(-section.size // 3) + len(tail)
        warmer = {headers.TEMPERATURE: f"{attempt.temperature:g}"} if attempt.temperature else {}
        deadline = monotonic() + settings.transcription_timeout
        finished = False
        with transport_errors():
            async with self._client.sse(
                "/v1/chat/completions",
                method="POST",
                content=_body(head, section, tail),
                headers={
                    "content-type": "application/json",
                    "content-length": str(length),
                    "x-request-id": request_id,
                    **warmer,
                },
            ) as source:
                if source.response.status_code != 200:
                    raise await refusal(source.response, REFUSED)
                async for event in source:
                    if monotonic() > deadline:
                        raise UpstreamTimeout(
                            "The transcription took longer than "
                            f"{settings.transcription_timeout:g} seconds."
                        )
                    if event.data == "[DONE]":
                        break
                    for parsed in _parse(event.data):
                        finished = finished or _is_end(parsed)
                        yield parsed
        if not finished:
            raise UpstreamError("The engine stopped during the transcription.")

    async def check_health(self) -> None:
        """Raises UpstreamError if the engine cannot serve requests now."""
        with transport_errors():
            response = await self._client.get("/health", timeout=self._settings.health_timeout)
        if response.status_code != 200:
            raise UpstreamUnavailable("The engine is not ready.")


def _is_end(event: UpstreamEvent) -> bool:
    return isinstance(event, Finish) and event.reason not in ("abort", "error")


@asynccontextmanager
async def open_client(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """The HTTP client for the engine or its replacement, open for the life of the process."""
    timeout = httpx2.Timeout(
        connect=settings.upstream_connect_timeout,
        read=settings.upstream_read_timeout,
        write=settings.upstream_read_timeout,
        pool=settings.upstream_connect_timeout,
    )
    limits = httpx2.Limits(
        max_connections=None, max_keepalive_connections=64, keepalive_expiry=KEEPALIVE_SECONDS
    )
    # The engine is part of this stack, so proxies and credentials in the environment do not apply.
    transport = httpx2.AsyncHTTPTransport(limits=limits, trust_env=False, retries=CONNECT_RETRIES)
    key = settings.asr_api_key.get_secret_value()
    async with httpx2.AsyncClient(
        base_url=settings.asr_url,
        headers={"authorization": f"Bearer {key}"} if key else {},
        timeout=timeout,
        transport=transport,
        trust_env=False,
    ) as client:
        yield client


async def _body(head: bytes, section: Section, tail: bytes) -> AsyncIterator[bytes]:
    """The request body, with the audio read and encoded block by block. Small audio is read at
    once, since a thread and a second write would cost more than they save."""

    def next_block() -> bytes:
        return base64.b64encode(section.file.read(BASE64_BLOCK))

    section.file.seek(0)
    if section.size <= BASE64_BLOCK:
        yield head + next_block() + tail
        return
    yield head
    while block := await to_thread.run_sync(next_block):
        yield block
    yield tail


def _parse(data: str) -> Iterator[UpstreamEvent]:
    """The events in one server-sent message of vLLM's chat completions."""
    try:
        message: Any = json.loads(data)
        if "error" in message:
            logger.error("engine failed while answering: %s", data[:ERROR_BODY_LIMIT])
            raise UpstreamError("The engine failed while transcribing the recording.")
        for choice in message["choices"]:
            if text := choice["delta"].get("content"):
                yield TextDelta(text)
            if reason := choice.get("finish_reason"):
                yield Finish(reason)
        if usage := message.get("usage"):
            yield TokenCount(usage["prompt_tokens"], usage["completion_tokens"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # Do not log the message itself: it may contain the transcript.
        logger.error("unexpected message of %d characters from the engine", len(data))
        raise UpstreamError("The engine's response could not be parsed.") from error


async def refusal(response: httpx2.Response, refused: str) -> Exception:
    """The error for an error status from the engine; hides the engine's message from the client.

    `refused`: the message to use if the recording itself was rejected.
    """
    detail = b""
    async for chunk in response.aiter_bytes():
        detail += chunk
        if len(detail) >= ERROR_BODY_LIMIT:
            break
    status = response.status_code
    logger.warning("engine returned %d: %r", status, detail[:ERROR_BODY_LIMIT])
    if status in (400, 413, 422):
        return InvalidAudio(refused, code="refused_by_engine")
    if status in (429, 503):
        return UpstreamUnavailable("The engine is busy or not ready. Try again soon.")
    return UpstreamError("The engine could not transcribe the recording.")


@contextmanager
def transport_errors() -> Iterator[None]:
    """Convert transport errors between proxy and engine to UpstreamError."""
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
        raise UpstreamUnavailable(
            "The engine cannot be reached; it may still be loading. Try again soon."
        ) from error
    except httpx2.TimeoutException as error:
        raise UpstreamTimeout("The engine did not respond in time.") from error
    except httpx2.RequestError as error:
        logger.error("connection to the engine failed: %r", error)
        raise UpstreamError(
            "The connection to the engine was lost during the transcription."
        ) from error
    except OSError as error:
        # httpcore2 asks a new connection for its peer, which fails if the engine has closed it.
        if error.errno != ENOTCONN:
            raise
        raise UpstreamUnavailable("The engine closed the connection. Try again soon.") from error
