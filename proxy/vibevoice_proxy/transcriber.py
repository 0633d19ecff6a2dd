"""A decoded recording in, its segments one by one and its transcript out.

The pieces of a recording that is too long for the model are transcribed side by side here and
joined in order.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import monotonic
from typing import Protocol

import anyio

from vibevoice_proxy.errors import UpstreamError
from vibevoice_proxy.pieces import Piece, Recording
from vibevoice_proxy.transcript import Segment, Transcript, Usage

logger = logging.getLogger(__name__)


class Recognizer(Protocol):
    """What transcribes the pieces: our engine, or another transcription server."""

    def transcribe(
        self, piece: Piece, info: str, language: str | None, request_id: str
    ) -> AsyncGenerator[Segment | Transcript]:
        """The segments of one piece, its times and speakers its own; then its transcript, whose
        segments are left out. Closing the iterator stops the work.

        `info` is what is told beside the audio and may be empty, `language` what the client named.

        Raises InvalidAudio when the recording is refused and an UpstreamError for everything else
        that keeps the answer from being whole.
        """
        ...

    async def check_health(self) -> None:
        """Raises an UpstreamError when requests cannot be served now."""
        ...


class Transcriber:
    """Transcribes recordings by one recognizer."""

    def __init__(self, recognizer: Recognizer, piece_concurrency: int) -> None:
        """`piece_concurrency`: pieces of one recording transcribed at the same time."""
        self._recognizer = recognizer
        self._piece_concurrency = piece_concurrency

    async def check_health(self) -> None:
        """Raises an UpstreamError when requests cannot be served now."""
        await self._recognizer.check_health()

    async def transcribe(
        self, recording: Recording, info: str, language: str | None, request_id: str
    ) -> AsyncGenerator[Segment | Transcript]:
        """Each segment as soon as the model has written it, and the transcript at the end.

        With several pieces, the number of the piece is part of the speakers' names: whether A of
        one piece (A1) is A of the next (A2) is not known. Closing the iterator stops the engine's
        work. Raises what `Recognizer.transcribe` raises, and an UpstreamError when there is no
        transcript at all.
        """
        started = monotonic()
        segments: list[Segment] = []
        ends: list[Transcript] = []
        if len(recording.pieces) == 1:
            results = self._piece(recording.pieces[0], info, language, request_id)
        else:
            results = self._pieces(recording.pieces, info, language, request_id)
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
            language or next((end.language for end in ends if end.language), None),
            ",".join(reasons) or None,
        )

    async def _pieces(
        self, pieces: tuple[Piece, ...], info: str, language: str | None, request_id: str
    ) -> AsyncGenerator[Segment | Transcript]:
        """The results of all pieces, in their order and at their times."""
        places = asyncio.Semaphore(self._piece_concurrency)

        # Cancelled by their scopes: cancelling a task would not wait for a thread that reads.
        scopes = [anyio.CancelScope() for _ in pieces]

        async def work(number: int, results: asyncio.Queue[Segment | Transcript | None]) -> None:
            answers = self._piece(pieces[number - 1], info, language, f"{request_id}-{number}")
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
        self, piece: Piece, info: str, language: str | None, request_id: str
    ) -> AsyncGenerator[Segment | Transcript]:
        """As `Recognizer.transcribe`; of silence nothing is asked."""
        if piece.is_silent:
            yield Transcript((), piece.duration)
            return
        async with aclosing(
            self._recognizer.transcribe(piece, info, language, request_id)
        ) as results:
            async for result in results:
                yield result


def _placed(segment: Segment, start: float, number: int) -> Segment:
    """`segment` of the piece `number` that begins at `start` seconds."""
    return Segment(
        round(segment.start + start, 3),
        round(segment.end + start, 3),
        segment.speaker and f"{segment.speaker}{number}",
        segment.text,
    )


def _total(pieces: list[Usage]) -> Usage | None:
    """The tokens of several pieces."""
    if not pieces:
        return None
    return Usage(
        sum(usage.input_tokens for usage in pieces),
        sum(usage.output_tokens for usage in pieces),
        sum(usage.audio_tokens for usage in pieces),
    )
