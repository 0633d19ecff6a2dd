"""A decoded recording in, its segments one by one and its transcript out.

Here an answer that goes wrong on the way is mended: when the model loops or runs out of tokens, it
is asked again to go on from its last whole segment, a little warmer each time. Here too the pieces
of a recording that is too long for the model are transcribed side by side and joined in order.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from time import monotonic

import anyio

from vibevoice_proxy.errors import InvalidAudio, UpstreamError
from vibevoice_proxy.loops import LoopWatch, is_loop
from vibevoice_proxy.metrics import Metrics
from vibevoice_proxy.pieces import Piece, Recording
from vibevoice_proxy.prompt import Attempt, max_answer_tokens
from vibevoice_proxy.transcript import Segment, Transcript, TranscriptDecoder, Usage
from vibevoice_proxy.upstream import (
    AUDIO_TOKEN_SAMPLES,
    Finish,
    TextDelta,
    TokenCount,
    Upstream,
    UpstreamEvent,
)

TEMPERATURES = (0.0, 0.2, 0.4, 0.6)
"""Of the first attempt and of those that go on after a loop: Whisper's steps (openai/whisper,
`transcribe.py`), up to where a transcript is still one."""
MIN_TOKENS = 64
"""With fewer left for the answer, it is not worth going on."""
END_SECONDS = 1.0
"""A loop so near the end of the recording has cut nothing off: there is nothing to go on to."""
CHECK_CHARS = 128
"""A segment being written is searched for a loop each time it has grown by so much."""

logger = logging.getLogger(__name__)


class Transcriber:
    """Transcribes recordings by one engine."""

    def __init__(self, upstream: Upstream, metrics: Metrics, piece_concurrency: int) -> None:
        """`piece_concurrency`: pieces of one recording transcribed at the same time."""
        self._upstream = upstream
        self._metrics = metrics
        self._piece_concurrency = piece_concurrency

    async def transcribe(
        self, recording: Recording, info: str, language: str | None, request_id: str
    ) -> AsyncGenerator[Segment | Transcript]:
        """Each segment as soon as the model has written it, and the transcript at the end.

        With several pieces, the number of the piece is part of the speakers' names: whether A of
        one piece (A1) is A of the next (A2) is not known. Closing the iterator stops the engine's
        work. Raises what `Upstream.transcribe` raises, and an UpstreamError when there is no
        transcript at all.
        """
        started = monotonic()
        segments: list[Segment] = []
        ends: list[Transcript] = []
        if len(recording.pieces) == 1:
            results = self._piece(recording.pieces[0], info, request_id)
        else:
            results = self._pieces(recording.pieces, info, request_id)
        async with aclosing(results):
            async for result in results:
                if isinstance(result, Segment):
                    segments.append(result)
                    yield result
                else:
                    ends.append(result)
        if not segments and any(end.truncated for end in ends):
            raise UpstreamError("The model gave no transcript of the recording.")
        logger.info(
            "%s transcribed %d segments in %.2f s", request_id, len(segments), monotonic() - started
        )
        reasons = dict.fromkeys(end.truncated for end in ends if end.truncated)
        yield Transcript(
            tuple(segments),
            recording.duration,
            _total([end.usage for end in ends if end.usage]),
            language,
            ",".join(reasons) or None,
        )

    async def _pieces(
        self, pieces: tuple[Piece, ...], info: str, request_id: str
    ) -> AsyncGenerator[Segment | Transcript]:
        """The results of all pieces, in their order and at their times."""
        places = asyncio.Semaphore(self._piece_concurrency)

        # Cancelled by their scopes: cancelling a task would not wait for a thread that reads.
        scopes = [anyio.CancelScope() for _ in pieces]

        async def work(number: int, results: asyncio.Queue[Segment | Transcript | None]) -> None:
            answers = self._piece(pieces[number - 1], info, f"{request_id}-{number}")
            try:
                with scopes[number - 1]:
                    async with places, aclosing(answers):
                        async for answer in answers:
                            results.put_nowait(answer)
            finally:
                results.put_nowait(None)

        queues = [asyncio.Queue[Segment | Transcript | None]() for _ in pieces]
        tasks = [asyncio.create_task(work(n, queue)) for n, queue in enumerate(queues, 1)]
        try:
            for number, (piece, queue, task) in enumerate(zip(pieces, queues, tasks, strict=True)):
                while (result := await queue.get()) is not None:
                    if isinstance(result, Segment):
                        result = _placed(result, piece.start, number + 1)
                    yield result
                await task  # raises what ended it early
        finally:
            for scope in scopes:
                scope.cancel()
            # The pieces' files are closed after this; shielded, since the request may be cancelled.
            with anyio.CancelScope(shield=True):
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _piece(
        self, piece: Piece, info: str, request_id: str
    ) -> AsyncGenerator[Segment | Transcript]:
        """The segments of one piece, its times and speakers its own; then its transcript, whose
        segments are left out."""
        if piece.is_silent:
            yield Transcript((), piece.duration)
            return
        usage: list[Usage] = []
        tokens = max_answer_tokens(piece.duration)
        answer = _Answer(piece)
        reason: str | None = None
        looped = False
        for number, temperature in enumerate(TEMPERATURES):
            attempt = Attempt(tokens, answer.written, temperature)
            attempt_id = f"{request_id}-r{number}" if number else request_id
            events = self._upstream.transcribe(piece, info, attempt_id, attempt)
            try:
                async with aclosing(events):
                    async for event in events:
                        for segment in answer.read(event):
                            yield segment
                        if answer.is_looping:
                            break
            except InvalidAudio:
                if not reason:
                    raise
                logger.warning("%s: the engine does not go on after a %s", attempt_id, reason)
                break
            if answer.usage:
                usage.append(answer.usage)
            reason = answer.trouble
            looped = looped or reason == "loop"
            if reason == "loop" and answer.end > piece.duration - END_SECONDS:
                reason = None
            if not reason:
                break
            logger.warning("%s: stopped (%s) after %d segments", attempt_id, reason, answer.kept)
            tokens -= answer.kept_tokens
            if number + 1 == len(TEMPERATURES) or tokens < MIN_TOKENS:
                break
            answer = _Answer(piece, answer)
        for segment in answer.finish():
            yield segment
        if looped:
            self._metrics.loop(recovered=not reason)
        if not reason and not answer.kept and not answer.is_complete:
            raise UpstreamError("The model gave no transcript of the recording.")
        yield Transcript((), piece.duration, _whole(usage), truncated=reason)


class _Answer:
    """One attempt at a piece, as far as the model has written it."""

    def __init__(self, piece: Piece, before: "_Answer | None" = None) -> None:
        """`before`: the attempt that this one goes on from, at its last whole segment."""
        self.written = before.kept_text if before else ""
        """What this attempt goes on from."""
        self.kept = 0
        """Whole segments that are no part of a loop, with those of the attempts before."""
        self.end = 0.0
        """Seconds of the piece that the segments kept reach."""
        self.kept_tokens = 0
        """Tokens of this attempt in them, at least."""
        self.is_looping = False
        self.usage: Usage | None = None
        self._piece = piece
        self._decoder = TranscriptDecoder(piece.duration)
        self._watch = LoopWatch()
        self._finish_reason = ""
        self._unsearched = 0
        self._known = 0
        self._read(self.written)
        self._known = before.kept if before else 0

    @property
    def trouble(self) -> str | None:
        """Why the answer is not whole: `loop` or `length`."""
        if self.is_looping:
            return "loop"
        return "length" if self._finish_reason == "length" else None

    @property
    def is_complete(self) -> bool:
        """Whether the model said all it meant to."""
        return self._decoder.complete

    @property
    def kept_text(self) -> str:
        """The model's text to the end of the last segment kept."""
        return self._decoder.text_through(self.kept)

    def read(self, event: UpstreamEvent) -> list[Segment]:
        """The segments that `event` completes."""
        match event:
            case TextDelta(text):
                return self._read(text)
            case TokenCount(prompt, completion):
                audio = -(-self._piece.samples // AUDIO_TOKEN_SAMPLES)
                self.usage = Usage(prompt, completion, min(audio, prompt))
            case Finish(reason):
                self._finish_reason = reason
        return []

    def finish(self) -> list[Segment]:
        """The segments that only the end of the answer completes; none when it is a loop."""
        if self.is_looping:
            return []
        return self._pass_on(self._decoder.finish()) + self._new(self._watch.finish())

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
        """`segments` without those that the client knows from the attempt before."""
        known = max(0, self._known - self.kept)
        self.kept += len(segments)
        self.end = max([self.end, *(segment.end for segment in segments)])
        if segments and self.usage:
            self.kept_tokens = self.usage.output_tokens
        return segments[known:]


def _placed(segment: Segment, start: float, number: int) -> Segment:
    """`segment` of the piece `number` that begins at `start` seconds."""
    return Segment(
        round(segment.start + start, 3),
        round(segment.end + start, 3),
        segment.speaker and f"{segment.speaker}{number}",
        segment.text,
    )


def _whole(attempts: list[Usage]) -> Usage | None:
    """The tokens of several attempts at one piece; its prompt counts once."""
    if not attempts:
        return None
    output = sum(usage.output_tokens for usage in attempts)
    return replace(attempts[0], output_tokens=output)


def _total(pieces: list[Usage]) -> Usage | None:
    """The tokens of several pieces."""
    if not pieces:
        return None
    return Usage(
        sum(usage.input_tokens for usage in pieces),
        sum(usage.output_tokens for usage in pieces),
        sum(usage.audio_tokens for usage in pieces),
    )
