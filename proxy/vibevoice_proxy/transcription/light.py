"""Transcribes one section of a recording with the light recognizer, in worker processes of this
proxy; yields segments as turns are recognized."""

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from time import monotonic

from vibevoice_core.speakers import label
from vibevoice_core.worker_process import WorkerLost
from vibevoice_light import LOOKAHEAD_SECONDS, LightFailed, LightPool
from vibevoice_light import Segment as LightSegment
from vibevoice_proxy.errors import (
    InvalidRequest,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from vibevoice_proxy.transcription.section_audio import read_blocks
from vibevoice_proxy.transcription.sections import Section
from vibevoice_proxy.transcription.transcript import Missing, Segment, Token, Transcript

ENGLISH = "english"


class LightRecognizer:
    """Recognizes in the processes of a pool."""

    max_section_seconds = math.inf
    """Unlimited: memory does not grow with the recording, and speakers are kept to the end."""

    def __init__(
        self, pool: LightPool, *, timeout: float, is_english: bool, other_model: str | None
    ) -> None:
        """`timeout`: maximum seconds per section. `is_english`: whether the model only supports
        English, as the default one does. `other_model`: a model of this server for other
        languages; None if it has none."""
        self.pool = pool
        self._other_model = other_model
        self._timeout = timeout
        self._language = ENGLISH if is_english else None

    def check(self, languages: Sequence[str]) -> None:
        """Raises InvalidRequest if the model supports none of `languages`."""
        if self._language and languages and not any(map(_is_english, languages)):
            advice = (
                f"Use the model {self._other_model}."
                if self._other_model
                else "This server has no model for other languages."
            )
            raise InvalidRequest(
                "The light recognizer only supports English, not "
                f"{', '.join(languages)!r}. {advice}",
                param="language",
                code="unsupported_language",
            )

    async def recognize(
        self, section: Section, info: str, language: str | None, request_id: str
    ) -> AsyncGenerator[Segment | Transcript]:
        """See `Recognizer.recognize`. `info` is ignored: the model has no input for it."""
        deadline = monotonic() + self._timeout

        def check() -> None:
            if monotonic() > deadline:
                raise UpstreamTimeout(
                    f"The transcription took longer than {self._timeout:g} seconds."
                )

        missing: list[Missing] = []
        try:
            async with aclosing(read_blocks(section, check)) as blocks:
                found = self.pool.recognize(blocks, LOOKAHEAD_SECONDS)
                async with aclosing(found) as segments:
                    async for segment in segments:
                        check()
                        if reason := segment.missing_reason:
                            missing.append(Missing(segment.start, segment.end, reason))
                        if not segment.is_unclear:
                            yield _segment(segment, section.duration)
        except WorkerLost as error:
            raise UpstreamUnavailable(str(error)) from error
        except LightFailed as error:
            raise UpstreamError(str(error)) from error
        yield Transcript((), section.duration, language=self._language, missing=tuple(missing))

    async def check_health(self) -> None:
        """Raises an UpstreamError if no worker is ready."""
        if not self.pool.is_ready:
            raise UpstreamUnavailable(self.pool.unready_message)


class LightUnavailable:
    """Takes the place of the light recognizer if its model's files are missing, so that no request
    goes to another model instead."""

    max_section_seconds = math.inf

    def __init__(self, reason: str) -> None:
        """`reason`: what is missing, and what to do."""
        self._reason = reason

    def check(self, languages: Sequence[str]) -> None:
        """Raises UpstreamUnavailable."""
        raise UpstreamUnavailable(self._reason)

    def recognize(
        self, section: Section, info: str, language: str | None, request_id: str
    ) -> AsyncGenerator[Segment | Transcript]:
        """Raises UpstreamUnavailable."""
        raise UpstreamUnavailable(self._reason)

    async def check_health(self) -> None:
        """Raises UpstreamUnavailable."""
        raise UpstreamUnavailable(self._reason)


def _is_english(language: str) -> bool:
    return language.lower().replace("_", "-").partition("-")[0] in ("en", "eng", ENGLISH)


def _segment(segment: LightSegment, duration: float) -> Segment:
    return Segment(
        min(segment.start, duration),
        min(segment.end, duration),
        label(segment.speaker),
        segment.text,
        round(segment.mean_log_probability, 4),
        round(1 - segment.speech_probability, 4),
        tuple(Token(*token) for token in segment.tokens if token.text),
    )
