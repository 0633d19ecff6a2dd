"""Transcribes one section of a recording with VibeVoice-ASR through vLLM's chat completions.

If the model loops or runs out of tokens, it is asked to continue from its last complete segment, at
a slightly higher temperature each time.
"""

import logging
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from vibevoice_core.audio import TOKEN_SAMPLES
from vibevoice_proxy.errors import InvalidAudio, UpstreamError
from vibevoice_proxy.transcription.chat import Attempt, max_answer_tokens
from vibevoice_proxy.transcription.loops import LoopWatch, is_loop
from vibevoice_proxy.transcription.metrics import TranscriptionMetrics
from vibevoice_proxy.transcription.model_text import TranscriptDecoder
from vibevoice_proxy.transcription.sections import Section
from vibevoice_proxy.transcription.transcript import (
    Missing,
    Segment,
    Transcript,
    Usage,
    missing_rest,
)
from vibevoice_proxy.transcription.upstream import (
    Finish,
    TextDelta,
    TokenCount,
    Upstream,
    UpstreamEvent,
)

TEMPERATURES = (0.0, 0.2, 0.4, 0.6)
"""Temperatures of the first attempt and of those that continue after a loop: Whisper's steps
(openai/whisper, `transcribe.py`), limited to those at which the output is still a transcript."""
MIN_TOKENS = 64
"""With fewer tokens left for the response, continuing is not worthwhile."""
END_SECONDS = 1.0
"""A loop this close to the end of the recording has cut nothing off, so there is nothing to
continue."""
NO_TRANSCRIPT = "The model returned no transcript of the recording."
CHECK_CHARS = 128
"""An unfinished segment is checked for a loop each time it has grown by this much."""

logger = logging.getLogger(__name__)


class VibeVoiceRecognizer:
    """Recognizes with VibeVoice-ASR on the engine."""

    def __init__(
        self, upstream: Upstream, metrics: TranscriptionMetrics, max_section_seconds: float
    ) -> None:
        self.max_section_seconds = max_section_seconds
        self._upstream = upstream
        self._metrics = metrics

    def check(self, languages: Sequence[str]) -> None:
        """Accepts any language: the model has no language input."""

    async def check_health(self) -> None:
        """Raises an UpstreamError if the engine cannot serve requests now."""
        await self._upstream.check_health()

    async def recognize(
        self, section: Section, info: str, language: str | None, request_id: str
    ) -> AsyncGenerator[Segment | Transcript]:
        """See `Recognizer.recognize`. `language` is ignored: the model has no language input."""
        usage: list[Usage] = []
        tokens = max_answer_tokens(section.duration)
        answer = _Answer(section)
        reason: str | None = None
        looped = False
        plain: _Answer | None = None
        for number, temperature in enumerate(TEMPERATURES):
            attempt = Attempt(tokens, answer.written, temperature)
            attempt_id = f"{request_id}-r{number}" if number else request_id
            events = self._upstream.complete(section, info, attempt_id, attempt)
            try:
                async with aclosing(events):
                    async for event in events:
                        for segment in answer.read(event):
                            yield segment
                        if answer.is_looping:
                            break
            except (InvalidAudio, UpstreamError) as error:
                if not reason:
                    raise
                answer = plain or answer
                # Keep the segments so far: they may cover most of an hour.
                logger.warning("%s: no continuation after a %s: %s", attempt_id, reason, error)
                break
            if answer.usage:
                usage.append(answer.usage)
            reason = answer.trouble
            if answer.is_plain_text and not plain and not reason:
                reason, plain = "format", answer
                logger.warning("%s: the output is not in the model's format", attempt_id)
                answer = _Answer(section)
                continue
            looped = looped or reason == "loop"
            if reason == "loop" and answer.end > section.duration - END_SECONDS:
                reason = None
            if not reason:
                break
            logger.warning("%s: stopped (%s) after %d segments", attempt_id, reason, answer.kept)
            tokens -= answer.kept_tokens
            if number + 1 == len(TEMPERATURES) or tokens < MIN_TOKENS:
                break
            answer = _Answer(section, answer)
        if answer.is_plain_text and not reason:
            reason = "format"
        for segment in answer.finish():
            yield segment
        if looped:
            self._metrics.loop(recovered=not reason)
        if not reason and not answer.kept and not answer.is_complete:
            raise UpstreamError(NO_TRANSCRIPT, code="no_transcript")
        yield Transcript((), section.duration, _whole(usage), missing=_missing(answer, reason))


class _Answer:
    """One attempt at a section: the model's output so far."""

    def __init__(self, section: Section, before: "_Answer | None" = None) -> None:
        """`before`: the attempt that this one continues, from its last complete segment."""
        self.written = before.kept_text if before else ""
        """The attempt that this one continues."""
        self.kept = 0
        """Complete segments that are not part of a loop, including those of earlier attempts."""
        self.end = 0.0
        """End of the kept segments, in seconds of the section."""
        self.cut_from = math.inf
        """Start of the last segment if it is incomplete, in seconds of the section."""
        self.kept_tokens = 0
        """Minimum number of this attempt's tokens in them."""
        self.is_looping = False
        self.usage: Usage | None = None
        self._section = section
        self._decoder = TranscriptDecoder(section.duration)
        self._watch = LoopWatch()
        self._finish_reason = ""
        self._unsearched = 0
        self._known = 0
        self._read(self.written)
        self._known = before.kept if before else 0

    @property
    def trouble(self) -> str | None:
        """Why the output is incomplete: `loop` or `length`."""
        if self.is_looping:
            return "loop"
        return "length" if self._finish_reason == "length" else None

    @property
    def duration(self) -> float:
        """Seconds of the section."""
        return self._section.duration

    @property
    def is_plain_text(self) -> bool:
        """Whether the model wrote something other than its JSON."""
        return self._decoder.is_plain_text

    @property
    def is_complete(self) -> bool:
        """Whether the model finished its output."""
        return self._decoder.complete

    @property
    def kept_text(self) -> str:
        """The model's text up to the end of the last kept segment."""
        return self._decoder.text_through(self.kept)

    def read(self, event: UpstreamEvent) -> list[Segment]:
        """The segments that `event` completes."""
        match event:
            case TextDelta(text):
                return self._read(text)
            case TokenCount(prompt, completion):
                audio = -(-self._section.samples // TOKEN_SAMPLES)
                self.usage = Usage(prompt, completion, min(audio, prompt))
            case Finish(reason):
                self._finish_reason = reason
        return []

    def finish(self) -> list[Segment]:
        """The segments that are complete only at the end of the output; none if it is a loop."""
        if self.is_looping:
            return []
        cut = self._decoder.finish()
        self.cut_from = min([self.cut_from, *(segment.start for segment in cut)])
        return self._pass_on(cut) + self._new(self._watch.finish())

    def _read(self, text: str) -> list[Segment]:
        found = self._pass_on(self._decoder.feed(text))
        self._unsearched += len(text)
        if self._unsearched >= CHECK_CHARS and not self.is_looping:
            self._unsearched = 0
            self.is_looping = is_loop(*self._decoder.open_segment)
        return found

    def _pass_on(self, segments: list[Segment]) -> list[Segment]:
        passed = [passed for segment in segments for passed in self._watch.pass_on(segment)]
        self.is_looping = self.is_looping or self._watch.is_looping
        return self._new(passed)

    def _new(self, segments: list[Segment]) -> list[Segment]:
        """`segments` without those that the client already has from an earlier attempt."""
        known = max(0, self._known - self.kept)
        self.kept += len(segments)
        self.end = max([self.end, *(segment.end for segment in segments)])
        if segments and self.usage:
            self.kept_tokens = self.usage.output_tokens
        return segments[known:]


def _missing(answer: _Answer, reason: str | None) -> tuple[Missing, ...]:
    if reason is None:
        return ()
    end = answer.duration
    start = 0.0 if reason == "format" else min(answer.end, answer.cut_from, end)
    return missing_rest(start, end, reason)


def _whole(attempts: list[Usage]) -> Usage | None:
    """Token counts of several attempts at one section; the prompt counts once."""
    if not attempts:
        return None
    output = sum(usage.output_tokens for usage in attempts)
    return replace(attempts[0], output_tokens=output)
