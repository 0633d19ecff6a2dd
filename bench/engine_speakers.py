"""Scores speaker labels across sections with the real engine on the embedded checkpoint (digits in
synthetic voices).

    python -m bench.engine_speakers # a few minutes

The recordings are the checkpoint's evaluation set, with voices that it was not trained on.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import numpy as np
import soxr
from prometheus_client import CollectorRegistry
from tests.support.real_voices import RATE, Spoken
from training.tiny_asr.evaluate import clips

from bench.conversations import Conversation
from bench.scoring import Rate
from bench.servers import log_file, real_engine
from bench.speakers import heard, linked, print_rows, recognized, right_words, sections_of
from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_light import LightPool, open_voices
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.transcription.linking import numbered
from vibevoice_proxy.transcription.metrics import TranscriptionMetrics
from vibevoice_proxy.transcription.transcript import Segment
from vibevoice_proxy.transcription.upstream import Upstream, open_client
from vibevoice_proxy.transcription.vibevoice import VibeVoiceRecognizer

KINDS = ("2 speakers, 150-180 s",)
CLIPS = 6
"""Number of recordings of each kind."""
SECTIONS = (30.0, 60.0)
"""Length of a section in seconds; the checkpoint was trained on less than a minute."""


async def rows(
    recognizer: VibeVoiceRecognizer, pool: LightPool
) -> AsyncGenerator[Sequence[object]]:
    """A row of speaker counts and correctly labeled words: without sections, before linking, and
    after."""
    for kind in KINDS:
        made = clips(kind, CLIPS, clean=True)
        for seconds in SECTIONS:
            before, after, whole = Rate(0, 0), Rate(0, 0), Rate(0, 0)
            labels: list[str] = []
            for clip in made:
                samples = soxr.resample(clip.samples, SAMPLE_RATE, RATE).astype(np.float32)
                spoken = [Spoken(s.start, s.end, str(s.speaker), s.text) for s in clip.segments]
                built = Conversation(samples, spoken)
                one = await recognized(recognizer, sections_of(samples, 3600))
                whole += right_words(
                    built, heard([r for r in one if isinstance(r, Segment)]), by_time=False
                )
                recording = sections_of(samples, seconds)
                results = await recognized(recognizer, recording)
                plain = [numbered(r) for r in results if isinstance(r, Segment)]
                before += right_words(built, heard(plain), by_time=False)
                found = await linked(results, recording, pool)
                after += right_words(built, heard(found.segments), by_time=False)
                truth = len({s.speaker for s in clip.segments})
                numbers = f"{len({s.speaker for s in plain})}, {len(found.people)}"
                labels.append(f"{truth}: {numbers}")
            yield kind, f"{seconds:g} s", "; ".join(labels), whole, before, after


async def main() -> None:
    with real_engine(log_file("engine-speakers")) as servers:
        settings = Settings(asr_base_url=servers.engine)
        async with open_client(settings) as client, open_voices() as pool:
            metrics = TranscriptionMetrics(CollectorRegistry())
            recognizer = VibeVoiceRecognizer(Upstream(client, settings), metrics, 3600)
            head = ("recordings", "sections", "people: labels before, after", "in one section")
            await print_rows((*head, "right before", "right after"), rows(recognizer, pool))


if __name__ == "__main__":
    asyncio.run(main())
