"""Speakers of several sections → people, and how sure that is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vibevoice_light import cluster
from vibevoice_proxy.transcription.voices import Voice, mix

SLOPE = 20.0
"""How fast a likeness becomes certainty: 0.15 above or below EVEN is a probability of 0.95 or 0.05,
about where one person's likenesses end and those of two people begin (docs/speakers.md)."""
EVEN = 0.50
"""The likeness that one person has with themselves as often as two people have with each other."""
DOUBTFUL = 0.1
"""With at least this probability that two people are one, it is told."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Somebody in a section, as its recognizer tells them apart."""

    section: int
    voice: Voice | None
    """None where too little of them is heard to be compared."""


@dataclass(frozen=True, slots=True)
class Judgment:
    """How sure it is that a person's speakers are this person, and are all of them."""

    confidence: float | None
    """A probability; None where a voice is not known."""
    similar: int | None
    """The other person who this may be, by their index; None where there is none."""


def probability(likeness: float) -> float:
    """That two voices with this dot product are one person's."""
    return 1 / (1 + math.exp(-SLOPE * (likeness - EVEN)))


def identify(
    speakers: Sequence[Speaker], people: Sequence[Voice | None], threshold: float
) -> list[list[int]]:
    """The speakers who are each of `people`, then those of each new person in the order of
    appearance; as indices into `speakers`.

    Two people are never joined, nor two speakers of one section. A speaker without a voice is a
    person of their own. `threshold`: the least dot product of two voices that are joined.
    """
    voices = [*people, *(speaker.voice for speaker in speakers)]
    known = [index for index, voice in enumerate(voices) if voice is not None]
    groups = [-1] * len(people) + [speaker.section for speaker in speakers]
    apart = np.array([[groups[one] == groups[other] for other in known] for one in known], bool)
    least: NDArray[np.float64] = np.where(apart, np.inf, threshold).reshape(len(known), len(known))
    weighted = [voice.vector * voice.seconds for voice in voices if voice is not None]
    clusters = [[known[index] for index in members] for members in cluster(weighted, least)]
    clusters += [[index] for index, voice in enumerate(voices) if voice is None]
    count = len(people)
    found: list[list[int]] = [[] for _ in people]
    for members in sorted(clusters):
        new = [index - count for index in members if index >= count]
        if members[0] < count:
            found[members[0]] = new
        else:
            found.append(new)
    return found


def judge(
    found: Sequence[Sequence[int]], speakers: Sequence[Speaker], people: Sequence[Voice | None]
) -> list[Judgment]:
    """What is to be thought of `found`, which `identify` or somebody else has decided on."""
    given = [*people, *[None] * (len(found) - len(people))]
    parts = [
        [voice for voice in (known, *(speakers[index].voice for index in members)) if voice]
        for members, known in zip(found, given, strict=True)
    ]
    means = [mix(voices) if voices else None for voices in parts]
    sections = [{speakers[index].section for index in members} for members in found]
    return [
        _judge(number, parts, means, sections, [voice is not None for voice in given])
        for number in range(len(found))
    ]


def _judge(
    number: int,
    parts: Sequence[Sequence[Voice]],
    means: Sequence[Voice | None],
    sections: Sequence[set[int]],
    is_given: Sequence[bool],
) -> Judgment:
    mean = means[number]
    if mean is None:
        return Judgment(None, None)
    own = 1.0
    total = np.sum([voice.vector * voice.seconds for voice in parts[number]], axis=0)
    for voice in parts[number] if len(parts[number]) > 1 else ():
        others = total - voice.vector * voice.seconds
        own = min(own, probability(float(voice.vector @ others / np.linalg.norm(others))))
    similar, doubt = None, 0.0
    for other, voice in enumerate(means):
        # Two speakers of one section are two people because the recognizer says so.
        is_apart = sections[number] & sections[other] or (is_given[number] and is_given[other])
        if other == number or voice is None or is_apart:
            continue
        if (maybe := probability(float(mean.vector @ voice.vector))) > doubt:
            similar, doubt = other, maybe
    is_doubtful = doubt >= DOUBTFUL
    return Judgment(round(min(own, 1 - doubt), 3), similar if is_doubtful else None)
