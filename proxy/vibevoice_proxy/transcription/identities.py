"""Matches the speakers of several sections to people and computes a confidence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vibevoice_light import cluster
from vibevoice_proxy.transcription.voices import Voice, mix

SLOPE = 20.0
"""Slope of the probability: a dot product 0.15 above or below EVEN gives 0.95 or 0.05
(measured in docs/results/speakers.md)."""
EVEN = 0.50
"""The dot product at which one person and two people are equally likely."""
SHORT_SECONDS = 5.0
"""A known voice with less speech than this gets a lower threshold."""
SHORT_ALLOWANCE = 0.10
"""How much lower. Against a longer sample of the same person, 2 s of speech have a dot product of
0.71 and 3.5 s have 0.81; against other people, it does not depend on the length."""
DOUBTFUL = 0.1
"""Minimum probability at which another person is reported as similar."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """A speaker of one section, as labeled by the recognizer."""

    section: int
    voice: Voice | None
    """None if there is too little speech to compare."""


@dataclass(frozen=True, slots=True)
class Judgment:
    """The certainty that a person has exactly these speakers."""

    confidence: float | None
    """A probability; None without a voice."""
    similar: int | None
    """Index of another person who could be the same; None if there is none."""


def probability(likeness: float) -> float:
    """The probability that two voices with this dot product belong to the same person."""
    return 1 / (1 + math.exp(-SLOPE * (likeness - EVEN)))


def identify(
    speakers: Sequence[Speaker], people: Sequence[Voice | None], threshold: float
) -> list[list[int]]:
    """Assign each of `speakers` to one of `people` or to a new person.

    Two of `people` are never merged, nor are two speakers of the same section. A speaker without a
    voice becomes a new person.

    Args:
        threshold: the smallest dot product at which two voices are merged.

    Returns:
        For each of `people`, then for each new person in order of appearance: indices into
        `speakers`.
    """
    voices = [*people, *(speaker.voice for speaker in speakers)]
    known = [index for index, voice in enumerate(voices) if voice is not None]
    groups = [-1] * len(people) + [speaker.section for speaker in speakers]
    apart = np.array([[groups[one] == groups[other] for other in known] for one in known], bool)
    least: NDArray[np.float64] = np.where(apart, np.inf, threshold).reshape(len(known), len(known))
    is_short = [
        voice is not None and index < len(people) and voice.seconds < SHORT_SECONDS
        for index, voice in enumerate(voices)
    ]
    short = np.array([is_short[index] for index in known], bool)
    least = np.where(short[:, None] | short, least - SHORT_ALLOWANCE, least)
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
    """Judge an assignment `found`, as `identify` returns it."""
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
        # The recognizer found two different people in the same section.
        is_apart = sections[number] & sections[other] or (is_given[number] and is_given[other])
        if other == number or voice is None or is_apart:
            continue
        if (maybe := probability(float(mean.vector @ voice.vector))) > doubt:
            similar, doubt = other, maybe
    is_doubtful = doubt >= DOUBTFUL
    return Judgment(round(min(own, 1 - doubt), 3), similar if is_doubtful else None)
