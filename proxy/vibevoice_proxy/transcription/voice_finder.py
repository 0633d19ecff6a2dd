"""Finds the voices of a recording's speakers with a pool of worker processes."""

import logging
from collections.abc import Mapping, Sequence

import anyio
from anyio import to_thread

from vibevoice_core.worker_process import WorkerLost
from vibevoice_light import LightFailed, LightPool, Window
from vibevoice_proxy.transcription.metrics import TranscriptionMetrics
from vibevoice_proxy.transcription.section_audio import Samples, read_piece
from vibevoice_proxy.transcription.sections import Section
from vibevoice_proxy.transcription.transcript import Segment
from vibevoice_proxy.transcription.voices import Span, Voice, clean_spans, voices_of

PART = "speakers"
"""The upstream's name in the metrics."""

logger = logging.getLogger(__name__)


class VoiceFinder:
    """Embeds the speakers of one section after another. Results are kept until the section is
    finished, because a stream requests a speaker again when there are more segments."""

    def __init__(self, pool: LightPool, metrics: TranscriptionMetrics) -> None:
        self._pool = pool
        self._metrics = metrics
        self._heard: dict[Span, list[Window]] = {}

    async def finish(
        self, section: Section, segments: Sequence[Segment]
    ) -> Mapping[str, Voice | None]:
        """The voices of all speakers in a section's `segments`, whose times are relative to the
        recording; None for speakers with too little speech. Then start the next section."""
        found: dict[str, Voice | None] = {}

        async def work(speaker: str, spans: Sequence[Span]) -> None:
            found[speaker] = await self._voice(section, spans)

        async with anyio.create_task_group() as tasks:
            for speaker, spans in clean_spans(segments).items():
                tasks.start_soon(work, speaker, spans)
        self._heard.clear()
        return found

    async def listen(
        self, section: Section, segments: Sequence[Segment], speaker: str
    ) -> Voice | None:
        """The voice of a speaker in the `segments` of a section so far; None if there is too little
        speech."""
        return await self._voice(section, clean_spans(segments).get(speaker, []))

    async def _voice(self, section: Section, spans: Sequence[Span]) -> Voice | None:
        windows: list[Window] = []
        for span in sorted(spans):
            if span not in self._heard:
                start, end = (at - section.start for at in span)
                samples = await to_thread.run_sync(read_piece, section, start, end)
                self._heard[span] = await self.embed(samples, span[0])
            windows += self._heard[span]
        return next(iter(voices_of(windows)), None)

    async def embed(self, samples: Samples, start: float) -> list[Window]:
        """The windows, with times relative to the recording. Empty if embedding fails: the speaker
        then stays separate without a confidence, and the transcript is still complete."""
        try:
            try:
                windows = await self._pool.embed(samples)
            except WorkerLost:  # use another worker, or the restarted one
                windows = await self._pool.embed(samples)
        except (WorkerLost, LightFailed) as error:
            logger.warning("could not compare a voice: %s", error)
            self._count()
            return []
        return [Window(start + one.start, start + one.end, one.vector) for one in windows]

    def give_up(self) -> None:
        """Log and count a timeout while comparing voices."""
        logger.warning("comparing the voices of a turn took too long")
        self._count()

    def _count(self) -> None:
        self._metrics.upstream_error(PART, "upstream_unavailable")
