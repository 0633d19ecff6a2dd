"""Scores speaker labels: across sections, for known speakers and similar voices, and their cost.

    python -m bench.speakers                 # all tables, about half an hour
    python -m bench.speakers --only linking  # or light, known, cost
    python -m bench.speakers --only light --people 4 --sections 5 --minutes 6
    python -m bench.voice_likeness           # over thresholds

The recordings are assembled from speech of real people (see bench.conversations). Thresholds were
chosen with one half of the people; the other half was held out.
"""

import argparse
import asyncio
import resource
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from time import monotonic

import numpy as np
import psutil
import soxr
from prometheus_client import CollectorRegistry
from tests.support.real_voices import RATE, Samples, Utterance
from tests.support.wording import words

from bench.channels import CHANNELS
from bench.conversations import Conversation, converse
from bench.hearing import Heard
from bench.scoring import Rate, name_speakers
from bench.truthful import Truthful
from bench.voice_likeness import CHOSEN, HELD_OUT, reference
from bench.voices import load_voices, more_voices
from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_light import LightPool, find_moonshine, open_pool
from vibevoice_light.voiceprints import Voiceprints
from vibevoice_proxy.transcription.assembly import Recognizer, assemble
from vibevoice_proxy.transcription.identities import Speaker, identify
from vibevoice_proxy.transcription.light import LightRecognizer as LightThroughPool
from vibevoice_proxy.transcription.linking import link_stream, link_whole, numbered
from vibevoice_proxy.transcription.metrics import TranscriptionMetrics
from vibevoice_proxy.transcription.sections import Recording
from vibevoice_proxy.transcription.transcode import transcode
from vibevoice_proxy.transcription.transcript import Segment, Transcript
from vibevoice_proxy.transcription.voice_finder import VoiceFinder
from vibevoice_proxy.transcription.voices import KnownSpeaker

TABLES = ("linking", "light", "known", "cost")
THRESHOLD = 0.5

Voices = Mapping[str, Sequence[Utterance]]


async def replay(
    results: Sequence[Segment | Transcript],
) -> AsyncGenerator[Segment | Transcript]:
    """Yields the stored results of a recognizer."""
    for result in results:
        yield result


def sections_of(samples: Samples, seconds: float) -> Recording:
    """Convert a recording at 16 kHz to the proxy's sections of at most `seconds`."""
    wide = soxr.resample(samples, RATE, SAMPLE_RATE)
    pcm = (wide.clip(-1, 1) * 32767).astype(np.int16)
    blocks = (pcm[at : at + SAMPLE_RATE] for at in range(0, len(pcm), SAMPLE_RATE))
    return transcode(
        blocks,
        lambda: tempfile.TemporaryFile(buffering=0),  # type: ignore[arg-type,return-value]
        encoding="auto",
        max_section_seconds=seconds,
    )


async def recognized(recognizer: Recognizer, recording: Recording) -> list[Segment | Transcript]:
    """The recognizer's results for all sections."""
    results = assemble(recognizer, recording, "", (), "bench", concurrency=4, is_streamed=False)
    return [result async for result in results]


async def linked(
    results: Sequence[Segment | Transcript],
    recording: Recording,
    pool: LightPool,
    known: Sequence[KnownSpeaker] = (),
    *,
    threshold: float = THRESHOLD,
    streamed: bool = False,
) -> Transcript:
    """Link the results to a transcript with one label per person."""
    finder = VoiceFinder(pool, TranscriptionMetrics(CollectorRegistry()))
    link = link_stream if streamed else link_whole
    found = [r async for r in link(replay(results), recording, finder, known, threshold)]
    transcript = found[-1]
    assert isinstance(transcript, Transcript)
    if streamed:  # the labels in the stream match the transcript
        assert [one.speaker for one in found[:-1] if isinstance(one, Segment)] == [
            one.speaker for one in transcript.segments
        ]
    return transcript


def heard(segments: Sequence[Segment]) -> list[Heard]:
    """Convert segments for scoring."""
    return [Heard(s.start, s.end, s.speaker or "", s.text) for s in segments if s.speaker]


def right_words(built: Conversation, found: Sequence[Heard], *, by_time: bool) -> Rate:
    """Recognized words with the label of the person who speaks longest in their segment; with
    `by_time`, seconds instead of words."""
    named = name_speakers(built.spoken, found)
    right = whole = 0.0
    for one in found:
        common: dict[str, float] = {}
        for turn in built.spoken:
            both = min(one.end, turn.end) - max(one.start, turn.start)
            if both > 0:
                common[turn.speaker] = common.get(turn.speaker, 0.0) + both
        weight = one.end - one.start if by_time else len(words(one.text))
        if common:
            whole += weight
            right += weight * (named.get(one.speaker) == max(common, key=lambda n: common[n]))
    return Rate(right, whole)


async def linking_rows(
    cases: Sequence[tuple[str, ...]],
    voices: Voices,
    pool: LightPool,
    options: argparse.Namespace,
    *,
    light: bool,
) -> AsyncGenerator[Sequence[object]]:
    """A row for each case: speakers found, and words (or time) with the right label, before and
    after linking."""
    for people in cases:
        if options.people and len(people) not in options.people:
            continue
        built = converse({name: voices[name] for name in people}, options.minutes * 60, seed=7)
        for length in options.sections:
            recording = sections_of(built.samples, length * 60)
            recognizer: Recognizer = (
                LightThroughPool(pool, timeout=3600, is_english=True, other_model=None)
                if light
                else Truthful(built.spoken)
            )
            results = await recognized(recognizer, recording)
            before = [numbered(one) for one in results if isinstance(one, Segment)]
            after = await linked(results, recording, pool)
            streamed = await linked(results, recording, pool, streamed=True)
            rates = [
                right_words(built, heard(segments), by_time=not light)
                for segments in (before, after.segments, streamed.segments)
            ]
            doubtful = sum((one.confidence or 0) < 0.9 for one in after.people)
            yield (
                f"{len(people)} ({', '.join(people)})",
                f"{length:g} min",
                len({one.speaker for one in before}),
                f"{len(after.people)}, {len(streamed.people)}",
                doubtful,
                *rates,
            )


async def known_rows(
    voices: Voices, pool: LightPool, minutes: float
) -> AsyncGenerator[Sequence[object]]:
    """Rows with the time of known people that is labeled with their name, and the time of strangers
    that is labeled with a name. Each recording is recognized once; each third of its people is
    known in turn, from references with other words and without the channel."""
    prints = Voiceprints.load()
    for group, people in (("chosen with", CHOSEN), ("held out", HELD_OUT[:6])):
        rng = np.random.default_rng(1)
        kept: dict[str, Sequence[Utterance]] = {}
        rest: dict[str, Sequence[Utterance]] = {}
        for name in people:
            order = rng.permutation(len(voices[name]))
            half = max(1, len(order) // 2)
            kept[name] = [voices[name][index] for index in order[:half]]
            rest[name] = [voices[name][index] for index in order[half:]]
        built = converse(rest, minutes * 60, seed=1)
        for channel in ("clean", "G.711, 8 kHz", "room, 0.4 s", "noise, 10 dB"):
            recording = sections_of(CHANNELS[channel](built.samples), 300)
            results = await recognized(Truthful(built.spoken), recording)
            segments = [one for one in results if isinstance(one, Segment)]
            speakers = await speakers_of(segments, recording, pool)
            for seconds in (2.5, 5.0, 9.0):
                named = stranger = Rate(0, 0)
                for number in range(3):
                    names = people[number::3]
                    found = [reference(prints, kept[name], rng, seconds) for name in names]
                    known = identify([one for _, one in speakers], found, THRESHOLD)
                    for person, members in enumerate(known[: len(names)]):
                        keys = {speakers[index][0] for index in members}
                        for segment in segments:
                            truth = who(built, segment)
                            length = segment.end - segment.start
                            has_name = (segment.section, segment.speaker) in keys
                            if truth == names[person]:
                                named += Rate(length * has_name, length)
                            elif truth not in names:
                                stranger += Rate(length * has_name, length / len(names))
                yield group, channel, f"{seconds:g} s", named, stranger


async def speakers_of(
    segments: Sequence[Segment], recording: Recording, pool: LightPool
) -> list[tuple[tuple[int, str | None], Speaker]]:
    """The speakers of all sections with their voices."""
    finder = VoiceFinder(pool, TranscriptionMetrics(CollectorRegistry()))
    found: list[tuple[tuple[int, str | None], Speaker]] = []
    for number, section in enumerate(recording.sections, 1):
        own = [one for one in segments if one.section == number]
        heard_voices = await finder.finish(section, own)
        found += [((number, name), Speaker(number, v)) for name, v in heard_voices.items()]
    return found


def who(built: Conversation, segment: Segment) -> str | None:
    """The person who speaks in the middle of a segment."""
    middle = (segment.start + segment.end) / 2
    return next((t.speaker for t in built.spoken if t.start <= middle <= t.end), None)


async def cost_rows(voices: Voices, pool: LightPool) -> AsyncGenerator[Sequence[object]]:
    """A row for an hour of four people, for each section length."""
    built = converse({name: voices[name] for name in CHOSEN[:4]}, 3600)
    worker = [psutil.Process(one.pid) for one in pool.workers if one.pid]
    for seconds in (300.0, 1800.0):
        recording = sections_of(built.samples, seconds)
        results = await recognized(Truthful(built.spoken), recording)
        before, started = sum(_processor(one) for one in worker), monotonic()
        own = resource.getrusage(resource.RUSAGE_SELF)
        await linked(results, recording, pool)
        wall = monotonic() - started
        spent = resource.getrusage(resource.RUSAGE_SELF)
        yield (
            f"{seconds / 60:g} min",
            len(recording.sections),
            f"{wall:.1f}",
            f"{sum(_processor(one) for one in worker) - before:.1f}",
            f"{spent.ru_utime + spent.ru_stime - own.ru_utime - own.ru_stime:.1f}",
            ", ".join(f"{one.memory_info().rss / 2**20:.0f}" for one in worker),
        )


def _processor(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


async def print_rows(head: Sequence[str], rows: AsyncGenerator[Sequence[object]]) -> None:
    """Print a Markdown table row by row as results arrive."""
    for row in (head, ["---"] * len(head)):
        print("|", " | ".join(row), "|")
    async for row in rows:
        print("|", " | ".join(map(str, row)), "|", flush=True)
    print()


async def measure(options: argparse.Namespace) -> None:
    """Print the tables named in `options.only`."""
    chosen = options.only or TABLES
    voices = {**load_voices(), **more_voices()}
    async with open_pool(find_moonshine(), 2) as pool:
        await pool.embed(np.zeros(RATE, np.float32))
        head = ("people", "sections", "labels before", "labels after: whole, stream", "doubtful")
        head += ("right before", "right after", "right in a stream")
        if "linking" in chosen:
            print("Reference segments; share of the time with the right label:\n")
            cases = [CHOSEN[:count] for count in (2, 4)]
            cases += [HELD_OUT[:count] for count in (2, 3, 4, 8)]
            await print_rows(head, linking_rows(cases, voices, pool, options, light=False))
        if "known" in chosen:
            names = ("people", "channel", "reference", "right name", "strangers with a name")
            await print_rows(names, known_rows(voices, pool, options.minutes))
        if "light" in chosen:
            print("The light recognizer; share of recognized words with the right label:\n")
            english = ("Allison", "LibriVox", "Bruce", "cards")
            cases = [english[:2], (english[0], english[2]), english[:3], english]
            await print_rows(head, linking_rows(cases, voices, pool, options, light=True))
        if "cost" in chosen:
            costs = ("sections", "number", "wall s", "workers' processor s", "proxy's processor s")
            costs += ("workers' MiB",)
            await print_rows(costs, cost_rows(voices, pool))


def main() -> None:
    parser = argparse.ArgumentParser(description="Score speaker labels across sections, and names.")
    parser.add_argument("--only", choices=TABLES, nargs="*", help="some tables")
    parser.add_argument("--minutes", type=float, default=15, help="of a recording (15)")
    parser.add_argument("--people", type=int, nargs="*", help="some numbers of people")
    parser.add_argument("--sections", type=float, nargs="+", default=[1, 5], help="in minutes")
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
