"""The voices of a recording's speakers, embedded by the processes of a pool."""

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

ATTEMPTS = 2
"""At a piece: a process that was lost is there again soon."""
PART = "speakers"
"""Its name in the metrics."""

logger = logging.getLogger(__name__)


class VoiceFinder:
    """Hears how the speakers of one section after the other sound. What is embedded is kept until
    the section is done: a speaker may be asked for again with more segments."""

    def __init__(self, pool: LightPool, metrics: TranscriptionMetrics) -> None:
        self._pool = pool
        self._metrics = metrics
        self._heard: dict[Span, list[Window]] = {}

    async def finish(
        self, section: Section, segments: Sequence[Segment]
    ) -> Mapping[str, Voice | None]:
        """The voices of all speakers of a section's `segments`, whose times are those of the
        recording; None where too little is heard of one. The next section begins."""
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
        """The voice of a speaker as far as it is known after `segments` of the section; None where
        that is not enough."""
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
        """The windows of a piece of the recording that begins at `start`. None when that fails: the
        speaker is then nobody else, which is told, and the transcript is not lost."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                windows = await self._pool.embed(samples)
            except (WorkerLost, LightFailed) as error:
                logger.warning("a voice could not be compared: %s", error)
                if attempt == ATTEMPTS or isinstance(error, LightFailed):
                    self._count()
                    return []
            else:
                return [Window(start + w.start, start + w.end, w.vector) for w in windows]
        raise AssertionError

    def give_up(self) -> None:
        """Log and count voices that took too long."""
        logger.warning("the voices of a turn took too long to be compared")
        self._count()

    def _count(self) -> None:
        self._metrics.upstream_error(PART, "upstream_unavailable")
