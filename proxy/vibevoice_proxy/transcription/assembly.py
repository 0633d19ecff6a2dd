"""Recognizes the sections of a recording concurrently and assembles one transcript."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from time import monotonic
from typing import Protocol

import anyio

from vibevoice_proxy.errors import ProxyError, UpstreamError
from vibevoice_proxy.transcription.section_attempts import recognize_or_miss
from vibevoice_proxy.transcription.sections import Recording, Section
from vibevoice_proxy.transcription.transcript import (
    INCOMPLETE_FILE,
    Missing,
    Segment,
    Transcript,
    Usage,
)
from vibevoice_proxy.values import only_language

JOIN_SECONDS = 0.01
"""Missing parts with a smaller gap between them are merged."""

logger = logging.getLogger(__name__)


class Recognizer(Protocol):
    """Recognizes sections: VibeVoice on our engine, the light recognizer, or another transcription
    server."""

    @property
    def max_section_seconds(self) -> float:
        """Maximum length of a section that it can process in one pass."""
        ...

    def check(self, languages: Sequence[str]) -> None:
        """Raises InvalidRequest if it supports none of the possible `languages`, and
        UpstreamUnavailable if it cannot serve any request until it is set up."""
        ...

    def recognize(
        self, section: Section, info: str, language: str | None, request_id: str
    ) -> AsyncGenerator[Segment | Transcript]:
        """Yield the segments of one section, with times and speakers relative to the section; then
        its transcript, without segments. Close the iterator to stop the work.

        `info`: context for the model besides the audio; may be empty. `language`: the only language
        that the client expects, if there is one.

        Raises InvalidAudio if the recording is rejected, and UpstreamError if the response is
        incomplete for any other reason.
        """
        ...

    async def check_health(self) -> None:
        """Raises UpstreamError if requests cannot be served now."""
        ...


async def assemble(
    recognizer: Recognizer,
    recording: Recording,
    info: str,
    languages: Sequence[str],
    request_id: str,
    *,
    concurrency: int,
    is_streamed: bool,
) -> AsyncGenerator[Segment | Transcript]:
    """Yield each segment as soon as `recognizer` has written it, and the transcript at the end.
    Unless `is_streamed`, those of one of several sections come when the section is complete.

    At most `concurrency` sections are recognized at a time. Speaker labels are those of each
    section: it is unknown here whether A in one section is A in the next. Close the iterator to
    stop the recognizer. Raises what `Recognizer.recognize` raises, and UpstreamError if there is no
    transcript at all.

    If one of several sections fails, it is retried once. If it fails again, it is reported as a
    missing part; if no section produced anything, the first failure is raised.
    """
    started = monotonic()
    language = only_language(languages)
    segments: list[Segment] = []
    ends: list[Transcript] = []
    failures: list[ProxyError] = []
    if len(recording.sections) == 1:
        results = _recognize(recognizer, recording.sections[0], info, language, request_id)
    else:
        results = _recognize_all(
            recognizer,
            recording.sections,
            info,
            language,
            request_id,
            concurrency,
            failures,
            is_streamed=is_streamed,
        )
    async with aclosing(results):
        async for result in results:
            if isinstance(result, Segment):
                segments.append(result)
                yield result
            else:
                ends.append(result)
    if not segments and failures:
        raise failures[0]
    lost = [part for end in ends for part in end.missing if part.reason != "unclear"]
    if not segments and lost:
        raise UpstreamError(
            "The model returned no transcript of the recording.", code="no_transcript"
        )
    logger.info(
        "%s transcribed %d segments in %.2f s", request_id, len(segments), monotonic() - started
    )
    yield Transcript(
        tuple(segments),
        recording.duration,
        _total([end.usage for end in ends if end.usage]),
        language or next((end.language for end in ends if end.language), None),
        _joined([*(part for end in ends for part in end.missing), *_cut_off(recording)]),
    )


async def _recognize_all(
    recognizer: Recognizer,
    sections: tuple[Section, ...],
    info: str,
    language: str | None,
    request_id: str,
    concurrency: int,
    failures: list[ProxyError],
    *,
    is_streamed: bool,
) -> AsyncGenerator[Segment | Transcript]:
    """The results of all sections, in order and with times relative to the recording."""
    slots = asyncio.Semaphore(concurrency)

    # Cancel through scopes: cancelling a task would not wait for a thread that is reading.
    scopes = [anyio.CancelScope() for _ in sections]

    async def work(number: int, results: asyncio.Queue[Segment | Transcript | None]) -> None:
        section = sections[number - 1]
        answers = recognize_or_miss(
            lambda attempt_id: _recognize(recognizer, section, info, language, attempt_id),
            section.duration,
            f"{request_id}-{number}",
            failures,
            is_streamed=is_streamed,
        )
        try:
            with scopes[number - 1]:
                async with slots, aclosing(answers):
                    async for answer in answers:
                        results.put_nowait(answer)
        finally:
            results.put_nowait(None)

    queues = [asyncio.Queue[Segment | Transcript | None]() for _ in sections]
    tasks = [asyncio.create_task(work(n, queue)) for n, queue in enumerate(queues, 1)]
    try:
        for number, (section, queue, task) in enumerate(
            zip(sections, queues, tasks, strict=True), 1
        ):
            while (result := await queue.get()) is not None:
                if isinstance(result, Segment):
                    yield _placed(result, section.start, number)
                else:
                    yield replace(result, missing=_moved(result.missing, section.start))
            await task  # raises the task's error, if any
    finally:
        for scope in scopes:
            scope.cancel()
        # The sections' files are closed after this; shielded, since the request may be cancelled.
        with anyio.CancelScope(shield=True):
            await asyncio.gather(*tasks, return_exceptions=True)


async def _recognize(
    recognizer: Recognizer,
    section: Section,
    info: str,
    language: str | None,
    request_id: str,
) -> AsyncGenerator[Segment | Transcript]:
    """Like `Recognizer.recognize`, but does not send a silent section."""
    if section.is_silent:
        yield Transcript((), section.duration)
        return
    async with aclosing(recognizer.recognize(section, info, language, request_id)) as results:
        async for result in results:
            yield result


def _placed(segment: Segment, start: float, number: int) -> Segment:
    """Shift `segment` by `start`, the beginning of its section in seconds, and add the section
    `number` to its speaker."""
    return replace(
        segment,
        start=round(segment.start + start, 3),
        end=round(segment.end + start, 3),
        section=number,
    )


def _moved(parts: tuple[Missing, ...], start: float) -> tuple[Missing, ...]:
    """Shift `parts` by `start`, the beginning of their section in seconds."""
    return tuple(
        replace(part, start=round(part.start + start, 3), end=round(part.end + start, 3))
        for part in parts
    )


def _cut_off(recording: Recording) -> Iterator[Missing]:
    """The missing part at the end of a file that was cut off."""
    if recording.lost_seconds:
        end = recording.duration + recording.lost_seconds
        yield Missing(round(recording.duration, 3), round(end, 3), INCOMPLETE_FILE)


def _joined(parts: list[Missing]) -> tuple[Missing, ...]:
    """`parts` in order of time; adjacent ones that are missing for the same reason are merged."""
    joined: list[Missing] = []
    for part in sorted(parts, key=lambda part: part.start):
        last = joined[-1] if joined else None
        if last and last.reason == part.reason and part.start - last.end < JOIN_SECONDS:
            joined[-1] = replace(last, end=max(last.end, part.end))
        else:
            joined.append(part)
    return tuple(joined)


def _total(sections: list[Usage]) -> Usage | None:
    """The total token usage of several sections."""
    if not sections:
        return None
    return Usage(
        sum(usage.input_tokens for usage in sections),
        sum(usage.output_tokens for usage in sections),
        sum(usage.audio_tokens for usage in sections),
    )
