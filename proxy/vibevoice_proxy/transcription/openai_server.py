"""Recognizer that uses another server with OpenAI's transcription API, such as Whisper, instead of
the engine."""

import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Annotated

import anyio
import httpx2
from pydantic import (
    BaseModel,
    FiniteFloat,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from vibevoice_core.speakers import on_one_line
from vibevoice_proxy.errors import InvalidAudio, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.transcription.metrics import MISSING_REASONS
from vibevoice_proxy.transcription.references import MAX_NAME
from vibevoice_proxy.transcription.sections import Section
from vibevoice_proxy.transcription.transcript import Missing, Segment, Transcript
from vibevoice_proxy.transcription.upstream import refusal, transport_errors

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""An hour with every token of Whisper's segments takes a few megabytes."""
REFUSED = (
    "The transcription server rejected the recording. It may be too long, or in a language that "
    "the server does not support."
)
_FILE_NAMES = {"audio/flac": "audio.flac", "audio/wav": "audio.wav", "audio/ogg": "audio.ogg"}
"""Some servers detect the format by the file extension."""

logger = logging.getLogger(__name__)


class _AnswerSegment(BaseModel):
    start: FiniteFloat
    end: FiniteFloat
    text: str
    speaker: str | None = None
    avg_logprob: FiniteFloat | None = None
    no_speech_prob: FiniteFloat | None = None


class _AnswerMissing(BaseModel):
    start: FiniteFloat
    end: FiniteFloat
    reason: str


def _only_ours(value: object, validate: ValidatorFunctionWrapHandler) -> list[_AnswerMissing]:
    """The field is no part of OpenAI's API: another server may use its name for anything."""
    try:
        return validate(value)
    except ValidationError:
        return []


class _Answer(BaseModel):
    """The fields of `verbose_json` and `json` that are used."""

    text: str
    language: str | None = None
    segments: list[_AnswerSegment] | None = None
    missing: Annotated[list[_AnswerMissing], WrapValidator(_only_ours)] = []
    """Sent by servers that run this project."""


class OpenAIRecognizer:
    """Requests `verbose_json`, or `json` if that is rejected.

    If a server returns no segments, its text becomes one segment as long as the section. Speakers
    are those that the server returns; most return none.
    """

    def __init__(self, client: httpx2.AsyncClient, settings: Settings) -> None:
        self.max_section_seconds = settings.max_section_seconds
        self._client = client
        self._settings = settings
        # Tried in this order; once one has worked, only that one is used.
        self._formats: tuple[str, ...] = ("verbose_json", "json")
        # The response begins when the transcription is done, so limit the total time instead of
        # the read timeout.
        self._timeout = httpx2.Timeout(
            connect=settings.upstream_connect_timeout,
            read=None,
            write=settings.upstream_read_timeout,
            pool=settings.upstream_connect_timeout,
        )

    def check(self, languages: Sequence[str]) -> None:
        """Accept any language: the server itself rejects unsupported ones."""

    async def recognize(
        self, section: Section, info: str, language: str | None, request_id: str
    ) -> AsyncGenerator[Segment | Transcript]:
        """Like `Recognizer.recognize`; all segments arrive at once."""
        fields = {"model": self._settings.served_model_name}
        if info:
            fields["prompt"] = info
        if language:
            fields["language"] = language
        answer = await self._ask(section, fields, request_id)
        for segment in _segments(answer, section.duration):
            yield segment
        missing = tuple(_missing(answer, section.duration))
        yield Transcript((), section.duration, language=answer.language, missing=missing)

    async def check_health(self) -> None:
        """Raises UpstreamError if the server cannot be reached, or if it has a /health endpoint
        that reports it as not ready."""
        with transport_errors():
            response = await self._client.get("/health", timeout=self._settings.health_timeout)
        if response.status_code >= 500:
            raise UpstreamUnavailable("The transcription server is not ready.")

    async def _ask(self, section: Section, fields: dict[str, str], request_id: str) -> _Answer:
        response_format, *others = self._formats
        try:
            answer = await self._post(section, response_format, fields, request_id)
        except InvalidAudio:
            if not others:
                raise
            response_format = others[0]
            answer = await self._post(section, response_format, fields, request_id)
            logger.warning("the transcription server has no verbose_json: no segments or times")
        self._formats = (response_format,)
        return answer

    async def _post(
        self, section: Section, response_format: str, fields: dict[str, str], request_id: str
    ) -> _Answer:
        seconds = self._settings.transcription_timeout
        try:
            with transport_errors(), anyio.fail_after(seconds):
                body = await self._body(
                    section, {**fields, "response_format": response_format}, request_id
                )
        except TimeoutError as error:
            raise UpstreamTimeout(
                f"The transcription took longer than {seconds:g} seconds."
            ) from error
        try:
            return _Answer.model_validate_json(body)
        except ValidationError as error:
            # Do not log the response itself: it may contain the transcript.
            logger.error("unexpected response of %d bytes from the transcription server", len(body))
            raise UpstreamError(
                "The transcription server's response could not be parsed."
            ) from error

    async def _body(self, section: Section, fields: dict[str, str], request_id: str) -> bytes:
        section.file.seek(0)
        async with self._client.stream(
            "POST",
            "/v1/audio/transcriptions",
            data=fields,
            files={"file": (_FILE_NAMES[section.media_type], section.file, section.media_type)},
            headers={"x-request-id": request_id},
            timeout=self._timeout,
        ) as response:
            if response.status_code != 200:
                raise await refusal(response, REFUSED)
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise UpstreamError("The transcription server's response is too large.")
            return bytes(body)


def _segments(answer: _Answer, duration: float) -> Iterator[Segment]:
    """The segments of a section, with times clamped to its `duration` in seconds."""
    if not answer.segments:
        if text := answer.text.strip():
            yield Segment(0.0, duration, None, text)
        return
    for segment in answer.segments:
        if text := segment.text.strip():
            yield Segment(
                *_clamped(segment, duration),
                *(on_one_line(segment.speaker or "")[:MAX_NAME] or None, text),
                *(segment.avg_logprob, segment.no_speech_prob),
            )


def _missing(answer: _Answer, duration: float) -> Iterator[Missing]:
    """The parts that the server marked as missing. Only our own reasons are passed on: they become
    headers and metrics."""
    for part in answer.missing:
        start, end = _clamped(part, duration)
        reason = part.reason if part.reason in MISSING_REASONS else "upstream_error"
        if start < end:
            yield Missing(start, end, reason)


def _clamped(part: _AnswerSegment | _AnswerMissing, duration: float) -> tuple[float, float]:
    """Start and end of `part`, within a section of `duration` seconds."""
    start = min(max(part.start, 0.0), duration)
    return round(start, 3), round(min(max(part.end, start), duration), 3)
