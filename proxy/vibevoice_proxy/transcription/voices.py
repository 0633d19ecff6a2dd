"""Selects a speaker's speech and combines its windows into a voice."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vibevoice_light import Window, cluster
from vibevoice_proxy.transcription.transcript import Segment

Vector = NDArray[np.float32]

MIN_SPAN_SECONDS = 0.8
"""Shorter segments are less informative and more often mislabeled."""
MAX_PIECE_SECONDS = 8.0
"""Longest piece to embed at once: 0.5 MB and about 0.2 s of work."""
ENOUGH_SECONDS = 30.0
"""Speech to embed per speaker and section. More speech hardly changes the vector."""
CLEAR_SECONDS = 1.0
"""Shorter windows are too inaccurate to use."""
SAME_PIECE = 0.40
"""Groups of a speaker's windows are one voice if their means have at least this dot product.
Windows of one person have 0.59 (deviation 0.10), of two people 0.09 (0.12); see
`vibevoice_light.speakers`."""

Span = tuple[float, float]
"""Start and end, in seconds of the section."""


@dataclass(frozen=True, slots=True)
class Voice:
    """The voice of one person."""

    vector: Vector
    """Shape (192,), unit length. Compare two vectors with a dot product."""
    seconds: float
    """Seconds of speech that were averaged into the vector."""


@dataclass(frozen=True, slots=True)
class KnownSpeaker:
    """A person with a known name and voice."""

    name: str
    voice: Voice


def clean_spans(segments: Sequence[Segment]) -> dict[str, list[Span]]:
    """For each speaker of one section, the spans in which nobody else speaks: longest first, at
    most ENOUGH_SECONDS in total, in pieces of at most MAX_PIECE_SECONDS."""
    timed = sorted(segments, key=lambda segment: segment.start)
    spans: dict[str, list[Span]] = {}
    spoken: dict[str | None, float] = {}  # speaker → end of their latest segment
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
    """Combine one or more voices of the same person."""
    total = np.sum([voice.vector * voice.seconds for voice in voices], axis=0)
    seconds = sum(voice.seconds for voice in voices)
    return Voice((total / np.linalg.norm(total)).astype(np.float32), seconds)


def voices_of(windows: Sequence[Window]) -> list[Voice]:
    """The distinct voices in `windows`, which are in chronological order: the one with the most
    speech first. Empty if there is too little speech."""
    clear = [window for window in windows if window.end - window.start >= CLEAR_SECONDS]
    shares = _shares(clear)
    weighted = [window.vector * share for window, share in zip(clear, shares, strict=True)]
    groups = cluster(weighted, np.full((len(clear), len(clear)), SAME_PIECE))
    voices = [
        mix([Voice(clear[index].vector, shares[index]) for index in members]) for members in groups
    ]
    return sorted(voices, key=lambda voice: -voice.seconds)


def _shares(windows: Sequence[Window]) -> list[float]:
    """The seconds that each window contributes; an overlap counts half for each window."""
    shares = [window.end - window.start for window in windows]
    for index in range(1, len(windows)):
        before, window = windows[index - 1], windows[index]
        if before.start < window.start < before.end:
            shares[index] -= (common := (before.end - window.start) / 2)
            shares[index - 1] -= common
    return shares
