"""Another server of OpenAI's transcription API in the engine's place, such as one of the Whisper
family: one section of a recording in, its segments out at the end of its answer."""

import logging
from collections.abc import AsyncGenerator, Iterator

import anyio
import httpx2
from pydantic import BaseModel, FiniteFloat, ValidationError

from vibevoice_proxy.errors import InvalidAudio, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.transcription.sections import Section
from vibevoice_proxy.transcription.transcript import Segment, Transcript
from vibevoice_proxy.transcription.upstream import refusal, transport_errors

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""An hour with every token of Whisper's segments is a few megabytes."""
REFUSED = (
    "The transcription server refused the recording. It may be too long for it, or in a language "
    "that it does not know."
)
_FILE_NAMES = {"audio/flac": "audio.flac", "audio/wav": "audio.wav", "audio/ogg": "audio.ogg"}
"""Some servers look at the name's end to find the format."""

logger = logging.getLogger(__name__)


class _AnswerSegment(BaseModel):
    start: FiniteFloat
    end: FiniteFloat
    text: str
    speaker: str | None = None
    avg_logprob: FiniteFloat | None = None
    no_speech_prob: FiniteFloat | None = None


class _Answer(BaseModel):
    """What is read of `verbose_json` and of `json`."""

    text: str
    language: str | None = None
    segments: list[_AnswerSegment] | None = None


class OpenAIRecognizer:
    """Asks for `verbose_json`, and for `json` where that is refused.

    A server that gives no segments has its text in one segment as long as the section. Speakers are
    those that the server names; most name none.
    """

    def __init__(self, client: httpx2.AsyncClient, settings: Settings) -> None:
        self.max_section_seconds = settings.max_section_seconds
        self._client = client
        self._settings = settings
        # To be tried in this order; one is left when it has worked.
        self._formats: tuple[str, ...] = ("verbose_json", "json")
        # The answer begins when the transcription is done: the whole is timed, not the silence.
        self._timeout = httpx2.Timeout(
            connect=settings.upstream_connect_timeout,
            read=None,
            write=settings.upstream_read_timeout,
            pool=settings.upstream_connect_timeout,
        )

    def check_language(self, language: str | None) -> None:
        """The server itself refuses what it does not know."""

    async def recognize(
        self, section: Section, info: str, language: str | None, request_id: str
    ) -> AsyncGenerator[Segment | Transcript]:
        """As `Recognizer.recognize`; all segments come at once."""
        fields = {"model": self._settings.served_model_name}
        if info:
            fields["prompt"] = info
        if language:
            fields["language"] = language
        answer = await self._ask(section, fields, request_id)
        for segment in _segments(answer, section.duration):
            yield segment
        yield Transcript((), section.duration, language=answer.language)

    async def check_health(self) -> None:
        """Raises an UpstreamError when the server cannot be reached, or its /health, where it has
        one, says that it is not ready."""
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
            logger.warning("the transcription server knows no verbose_json: no segments, no times")
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
            # Not the answer itself: it may hold what was said.
            logger.error("unexpected answer of %d bytes from the transcription server", len(body))
            raise UpstreamError(
                "The transcription server's answer could not be understood."
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
                    raise UpstreamError("The transcription server's answer is too long.")
            return bytes(body)


def _segments(answer: _Answer, duration: float) -> Iterator[Segment]:
    """The segments of a section of `duration` seconds, their times inside it."""
    if not answer.segments:
        if text := answer.text.strip():
            yield Segment(0.0, duration, None, text)
        return
    for segment in answer.segments:
        if text := segment.text.strip():
            start = min(max(segment.start, 0.0), duration)
            end = min(max(segment.end, start), duration)
            yield Segment(
                *(round(start, 3), round(end, 3), segment.speaker or None, text),
                *(segment.avg_logprob, segment.no_speech_prob),
            )
