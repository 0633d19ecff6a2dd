"""Who is speaking: labels across sections, known speakers, close voices, and what it costs.

    python -m bench.speakers                    # all tables, about half an hour
    python -m bench.speakers --only thresholds  # linking, thresholds, known, cost

The people are real and recordings are put together of them (see bench.conversations). Thresholds
were chosen with one half of them; the other half was held out.
"""

import argparse
import asyncio
import resource
import tempfile
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np
import psutil
import soxr
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from tests.support.real_voices import RATE, Samples, Utterance, leveled, trimmed
from tests.support.wording import words

from bench.channels import CHANNELS
from bench.conversations import Conversation, converse
from bench.hearing import Heard
from bench.light_accuracy import table
from bench.scoring import Rate, name_speakers
from bench.truthful import Truthful
from bench.voices import load_voices, more_voices
from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_light import LightPool, Window, find_moonshine, open_pool
from vibevoice_light.voiceprints import Voiceprints
from vibevoice_proxy.transcription.assembly import Recognizer, assemble
from vibevoice_proxy.transcription.light import LightRecognizer as LightThroughPool
from vibevoice_proxy.transcription.linking import link_stream, link_whole, numbered
from vibevoice_proxy.transcription.metrics import TranscriptionMetrics
from vibevoice_proxy.transcription.sections import Recording
from vibevoice_proxy.transcription.transcode import transcode
from vibevoice_proxy.transcription.transcript import Segment, Transcript
from vibevoice_proxy.transcription.voice_finder import VoiceFinder
from vibevoice_proxy.transcription.voices import KnownSpeaker, Voice, voices_of

THRESHOLD = 0.5
CHOSEN = ("Allison", "June", "Carlo", "Czech woman", "Czech man", "Armelle")
"""Those with whom thresholds were chosen."""
HELD_OUT = (
    *("Menardi", "Colombian", "Dutch woman", "Dutch man"),
    *("Ivrvoice", "Bruce", "LibriVox", "cards"),
)
"""In an order in which the first ones are closest to each other."""
SECTIONS = (60.0, 300.0)

Voices = Mapping[str, Sequence[Utterance]]


async def replay(
    results: Sequence[Segment | Transcript],
) -> AsyncGenerator[Segment | Transcript]:
    """What a recognizer has given before."""
    for result in results:
        yield result


def sections_of(samples: Samples, seconds: float) -> Recording:
    """A recording at 16 kHz as the proxy has it, in sections of so many seconds at most."""
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
    """What it gives for all sections."""
    results = assemble(recognizer, recording, "", None, "bench", concurrency=4)
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
    """The transcript with one label for each person."""
    finder = VoiceFinder(pool, TranscriptionMetrics(CollectorRegistry()))
    link = link_stream if streamed else link_whole
    found = [r async for r in link(replay(results), recording, finder, known, threshold)]
    transcript = found[-1]
    assert isinstance(transcript, Transcript)
    if streamed:  # what was sent is what the transcript says
        assert [one.speaker for one in found[:-1] if isinstance(one, Segment)] == [
            one.speaker for one in transcript.segments
        ]
    return transcript


def heard(segments: Sequence[Segment]) -> list[Heard]:
    """As the scores take them."""
    return [Heard(s.start, s.end, s.speaker or "", s.text) for s in segments if s.speaker]


def right_words(built: Conversation, found: Sequence[Heard], *, by_time: bool) -> Rate:
    """Words heard whose label is that of the person who speaks longest there; seconds, where they
    are not to be counted."""
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
    minutes: float,
    *,
    light: bool,
) -> AsyncGenerator[Sequence[object]]:
    """Speakers found, and words (or time) with the right label, before and after."""
    for people in cases:
        built = converse({name: voices[name] for name in people}, minutes * 60, seed=7)
        for seconds in SECTIONS:
            recording = sections_of(built.samples, seconds)
            recognizer: Recognizer = (
                LightThroughPool(pool, timeout=3600, is_english=True)
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
                f"{seconds / 60:g} min",
                len({one.speaker for one in before}),
                f"{len(after.people)}, {len(streamed.people)}",
                doubtful,
                *rates,
            )


def speech_of(voice: Sequence[Utterance], rng: np.random.Generator, seconds: float) -> Samples:
    """So many seconds of somebody, at random, with short pauses."""
    parts: list[NDArray[np.float32]] = []
    length = 0
    for index in rng.permutation(len(voice)):
        parts += [leveled(trimmed(voice[index].samples)), np.zeros(RATE // 4, np.float32)]
        length += len(parts[-2])
        if length >= seconds * RATE:
            break
    return np.concatenate(parts)[: round((seconds + 2) * RATE)]


def voice_of(prints: Voiceprints, samples: Samples) -> Voice | None:
    """The voice in `samples`, embedded in pieces as the proxy does."""
    windows: list[Window] = []
    for at in range(0, len(samples), 8 * RATE):
        start = at / RATE
        windows += [
            Window(start + one.start, start + one.end, one.vector)
            for one in prints.find(samples[at : at + 8 * RATE])
        ]
    return next(iter(voices_of(windows)), None)


@dataclass(frozen=True, slots=True)
class Sample:
    """Some speech of one person, through a channel."""

    person: str
    channel: str
    voice: Voice


def samples_of(
    people: Sequence[str], voices: Voices, seconds: float, count: int, channels: Sequence[str]
) -> list[Sample]:
    """`count` samples of each person and channel."""
    prints = Voiceprints.load()
    found: list[Sample] = []
    for name in people:
        for channel in channels:
            rng = np.random.default_rng(len(found))
            for _ in range(count):
                samples = CHANNELS[channel](speech_of(voices[name], rng, seconds))
                if voice := voice_of(prints, samples):
                    found.append(Sample(name.split(" in ")[0], channel, voice))
    return found


def likenesses(found: Sequence[Sample], *, same: bool, rooms: bool) -> NDArray[np.float64]:
    """Dot products of pairs of samples, of the same person or of two; `rooms`: of two channels."""
    return np.array(
        [
            float(one.voice.vector @ other.voice.vector)
            for index, one in enumerate(found)
            for other in found[:index]
            if (one.person == other.person) == same and (one.channel != other.channel) == rooms
        ]
    )


def threshold_rows(
    groups: Mapping[str, NDArray[np.float64]], thresholds: Sequence[float]
) -> Iterator[Sequence[object]]:
    """How many of each group's pairs have at least each threshold."""
    for name, values in groups.items():
        shares = [f"{np.mean(values >= limit):.1%}" for limit in thresholds]
        spread = f"{values.mean():.2f} ({values.std():.2f}), {values.min():.2f}–{values.max():.2f}"
        yield name, len(values), spread, *shares


async def known_rows(
    voices: Voices, pool: LightPool, minutes: float
) -> AsyncGenerator[Sequence[object]]:
    """Speech of known people that has their name, and of strangers that has somebody's."""
    prints = Voiceprints.load()
    for group, people in (("chosen with", CHOSEN), ("held out", HELD_OUT[:6])):
        for channel in ("clean", "G.711, 8 kHz", "room, 0.4 s"):
            for seconds in (2.5, 5.0, 9.0):
                named = stranger = Rate(0, 0)
                for number in range(3):  # each time other people are known
                    known_names = people[number::3]
                    rng = np.random.default_rng(number)
                    known: list[KnownSpeaker] = []
                    rest: dict[str, Sequence[Utterance]] = {}
                    for name in people:
                        order = rng.permutation(len(voices[name]))
                        half = max(1, len(order) // 2)
                        rest[name] = [voices[name][index] for index in order[half:]]
                        if name in known_names:
                            kept = [voices[name][index] for index in order[:half]]
                            reference = speech_of(kept, rng, seconds)[: round(seconds * RATE)]
                            if voice := voice_of(prints, reference):
                                known.append(KnownSpeaker(name, voice))
                    built = converse(rest, minutes * 60, seed=number)
                    recording = sections_of(CHANNELS[channel](built.samples), 300)
                    results = await recognized(Truthful(built.spoken), recording)
                    found = await linked(results, recording, pool, known)
                    for segment in found.segments:
                        middle = (segment.start + segment.end) / 2
                        person = next(
                            (t.speaker for t in built.spoken if t.start <= middle <= t.end), None
                        )
                        length = segment.end - segment.start
                        if person in known_names:
                            named += Rate(length * (segment.speaker == person), length)
                        elif person:
                            wrong = segment.speaker in known_names
                            stranger += Rate(length * wrong, length)
                yield group, channel, f"{seconds:g} s", named, stranger


async def cost_rows(voices: Voices, pool: LightPool) -> AsyncGenerator[Sequence[object]]:
    """An hour of four people in sections of each length."""
    built = converse({name: voices[name] for name in CHOSEN[:4]}, 3600)
    worker = [psutil.Process(one.pid) for one in pool.workers if one.pid]
    for seconds in (60.0, 300.0, 1800.0):
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
    """Print a Markdown table row by row, as they come."""
    for row in (head, ["---"] * len(head)):
        print("|", " | ".join(row), "|")
    async for row in rows:
        print("|", " | ".join(map(str, row)), "|", flush=True)
    print()


async def measure(chosen: Sequence[str], minutes: float) -> None:
    """Print the tables named in `chosen`."""
    voices = {**load_voices(), **more_voices()}
    async with open_pool(find_moonshine(), 2) as pool:
        await pool.embed(np.zeros(RATE, np.float32))
        head = ("people", "sections", "labels before", "labels after: whole, stream", "doubtful")
        head += ("right before", "right after", "right in a stream")
        if "linking" in chosen:
            print("Segments of the truth; share of the time with the right label:\n")
            cases = [CHOSEN[:count] for count in (2, 4, 6)]
            cases += [HELD_OUT[:count] for count in (2, 3, 4, 6, 8)]
            await print_rows(head, linking_rows(cases, voices, pool, minutes, light=False))
        if "light" in chosen:
            print("The light recognizer; share of the words heard with the right label:\n")
            english = ("Allison", "LibriVox", "Bruce", "cards")
            cases = [english[:2], (english[0], english[2]), english[:3], english]
            await print_rows(head, linking_rows(cases, voices, pool, minutes, light=True))
        if "known" in chosen:
            names = ("people", "channel", "reference", "right name", "strangers with a name")
            await print_rows(names, known_rows(voices, pool, minutes))
        if "cost" in chosen:
            costs = ("sections", "number", "wall s", "workers' processor s", "proxy's processor s")
            costs += ("workers' MiB",)
            await print_rows(costs, cost_rows(voices, pool))
    if "thresholds" in chosen:
        limits = (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65)
        channels = ("clean", "G.711, 8 kHz", "room, 0.4 s", "noise, 10 dB")
        for group, people in (("chosen with", CHOSEN), ("held out", HELD_OUT[:6])):
            groups: dict[str, NDArray[np.float64]] = {}
            for seconds in (3.0, 10.0, 30.0):
                found = samples_of(people, voices, seconds, 4, channels)
                for same, rooms in ((True, False), (True, True), (False, False), (False, True)):
                    who = "one person" if same else "two people"
                    where = "two channels" if rooms else "one channel"
                    key = f"{who}, {where}, {seconds:g} s each"
                    groups[key] = likenesses(found, same=same, rooms=rooms)
            if group == "chosen with":
                both = samples_of(("Allison", "Allison in Spanish"), voices, 30.0, 8, ["clean"])
                cross = [float(a.voice.vector @ b.voice.vector) for a in both[:8] for b in both[8:]]
                groups["Allison in English and in Spanish, 30 s each"] = np.array(cross)
            print(f"People {group}:\n")
            table(
                ("pairs", "number", "dot product: mean (deviation), range", *map(str, limits)),
                threshold_rows(groups, limits),
            )


def main() -> None:
    names = ("linking", "light", "thresholds", "known", "cost")
    parser = argparse.ArgumentParser(description="Speakers across sections, and by name.")
    parser.add_argument("--only", choices=names, nargs="*", help="some tables")
    parser.add_argument("--minutes", type=float, default=15, help="of a recording (15)")
    args = parser.parse_args()
    asyncio.run(measure(args.only or names, args.minutes))


if __name__ == "__main__":
    main()
