"""Measures the similarity of voices of the same and of different people, in one channel and in two,
and the errors for each threshold.

    python -m bench.voice_likeness   # about ten minutes

Each sample is speech of one person, embedded as in the proxy. A false split is a pair of one
person's samples below the threshold, a false merge a pair of two people's above it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tests.support.real_voices import RATE, Samples, Utterance, leveled, trimmed

from bench.channels import CHANNELS
from bench.light_accuracy import table
from bench.voices import load_voices, more_voices
from vibevoice_light import Window
from vibevoice_light.voiceprints import Voiceprints
from vibevoice_proxy.transcription.references import MIN_SPEECH
from vibevoice_proxy.transcription.voices import Voice, voices_of

CHOSEN = ("Allison", "June", "Carlo", "Czech woman", "Czech man", "Armelle")
"""The people whose voices were used to choose thresholds."""
HELD_OUT = (
    *("Menardi", "Colombian", "Dutch woman", "Dutch man"),
    *("Ivrvoice", "Bruce", "LibriVox", "cards"),
)
"""Ordered so that the first ones are most similar."""
THRESHOLDS = (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65)

Voices = Mapping[str, Sequence[Utterance]]


def speech_of(
    voice: Sequence[Utterance], rng: np.random.Generator, seconds: float, *, exact: bool = False
) -> Samples:
    """Random speech of one person for `seconds` seconds, with short pauses; `exact`: at most this
    long including the pauses."""
    parts: list[NDArray[np.float32]] = []
    length = 0
    for index in rng.permutation(len(voice)):
        parts += [leveled(trimmed(voice[index].samples)), np.zeros(RATE // 4, np.float32)]
        length += len(parts[-2])
        if length >= seconds * RATE:
            break
    return np.concatenate(parts)[: round((seconds + (0 if exact else 2)) * RATE)]


def voice_of(prints: Voiceprints, samples: Samples) -> Voice | None:
    """The voice in `samples`, embedded in pieces as in the proxy."""
    windows: list[Window] = []
    for at in range(0, len(samples), 8 * RATE):
        start = at / RATE
        windows += [
            Window(start + one.start, start + one.end, one.vector)
            for one in prints.find(samples[at : at + 8 * RATE])
        ]
    return next(iter(voices_of(windows)), None)


def reference(
    prints: Voiceprints, voice: Sequence[Utterance], rng: np.random.Generator, seconds: float
) -> Voice:
    """A reference of `seconds` seconds that the proxy would accept."""
    while True:
        found = voice_of(prints, speech_of(voice, rng, seconds, exact=True))
        if found and found.seconds >= MIN_SPEECH:
            return found


@dataclass(frozen=True, slots=True)
class Sample:
    """Speech of one person, sent through a channel."""

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
    """A row for each group: the share of its pairs at or above each threshold."""
    for name, values in groups.items():
        shares = [f"{np.mean(values >= limit):.1%}" for limit in thresholds]
        spread = f"{values.mean():.2f} ({values.std():.2f}), {values.min():.2f}–{values.max():.2f}"
        yield name, len(values), spread, *shares


def main() -> None:
    voices = {**load_voices(), **more_voices()}
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
        head = ("pairs", "number", "dot product: mean (deviation), range", *map(str, THRESHOLDS))
        table(head, threshold_rows(groups, THRESHOLDS))


if __name__ == "__main__":
    main()
