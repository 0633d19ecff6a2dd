"""How a speaker sounds: which parts of a section tell it, and what they say together."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vibevoice_light import Window, cluster
from vibevoice_proxy.transcription.transcript import Segment

Vector = NDArray[np.float32]

MIN_SPAN_SECONDS = 0.8
"""Shorter parts tell little of a voice, and may be somebody else's."""
MAX_PIECE_SECONDS = 8.0
"""Of one piece that is embedded: half a megabyte, and a fifth of a second of work."""
ENOUGH_SECONDS = 30.0
"""So much of a speaker is embedded in a section: vectors of more are hardly better."""
CLEAR_SECONDS = 1.0
"""Windows below this are too rough to be counted."""
SAME_PIECE = 0.40
"""Windows of one speaker whose means have at least this dot product are one voice: those of one
person have 0.59 (deviation 0.10), of two 0.09 (0.12); see `vibevoice_light.speakers`."""

Span = tuple[float, float]
"""Start and end, in seconds of the section."""


@dataclass(frozen=True, slots=True)
class Voice:
    """How somebody sounds."""

    vector: Vector
    """Shape (192,), of length 1; compared by dot product."""
    seconds: float
    """Of the speech that it is the mean of."""


@dataclass(frozen=True, slots=True)
class KnownSpeaker:
    """Somebody whose name and voice are given."""

    name: str
    voice: Voice


def clean_spans(segments: Sequence[Segment]) -> dict[str, list[Span]]:
    """Speaker → when nobody else speaks, of one section's segments: its longest parts first,
    ENOUGH_SECONDS at most, cut into pieces."""
    timed = sorted(segments, key=lambda segment: segment.start)
    spans: dict[str, list[Span]] = {}
    spoken: dict[str | None, float] = {}  # speaker → until when
    for index, segment in enumerate(timed):
        speaker, start, end = segment.speaker, segment.start, segment.end
        start = max([start, *(until for other, until in spoken.items() if other != speaker)])
        for other in timed[index + 1 :]:
            if other.start >= end:
                break
            if other.speaker != speaker:
                end = other.start
        spoken[speaker] = max(spoken.get(speaker, 0.0), segment.end)
        if speaker is not None:
            found = spans.setdefault(speaker, [])
            if end - start >= MIN_SPAN_SECONDS:
                found.append((start, end))
    return {speaker: list(_enough(found)) for speaker, found in spans.items()}


def _enough(spans: Iterable[Span]) -> Iterator[Span]:
    left = ENOUGH_SECONDS
    for start, end in sorted(spans, key=lambda span: span[0] - span[1]):
        while left >= MIN_SPAN_SECONDS and end - start >= MIN_SPAN_SECONDS:
            length = min(end - start, MAX_PIECE_SECONDS, left)
            yield start, start + length
            start, left = start + length, left - length


def mix(voices: Sequence[Voice]) -> Voice:
    """One person's `voices`, of which there is at least one, as one."""
    total = np.sum([voice.vector * voice.seconds for voice in voices], axis=0)
    seconds = sum(voice.seconds for voice in voices)
    return Voice((total / np.linalg.norm(total)).astype(np.float32), seconds)


def voices_of(windows: Sequence[Window]) -> list[Voice]:
    """The voices in `windows`, whoever they are thought to be, the one with most speech first; none
    of speech that is too short. Windows follow one another in time where they overlap."""
    clear = [window for window in windows if window.end - window.start >= CLEAR_SECONDS]
    shares = _shares(clear)
    weighted = [window.vector * share for window, share in zip(clear, shares, strict=True)]
    groups = cluster(weighted, np.full((len(clear), len(clear)), SAME_PIECE))
    voices = [
        mix([Voice(clear[index].vector, shares[index]) for index in members]) for members in groups
    ]
    return sorted(voices, key=lambda voice: -voice.seconds)


def _shares(windows: Sequence[Window]) -> list[float]:
    """The seconds that each window has for itself: what two of them share counts half for each."""
    shares = [window.end - window.start for window in windows]
    for index in range(1, len(windows)):
        before, window = windows[index - 1], windows[index]
        if before.start < window.start < before.end:
            shares[index] -= (common := (before.end - window.start) / 2)
            shares[index - 1] -= common
    return shares
