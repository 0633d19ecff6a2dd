"""A pool of encoded recordings, each used many times: a part of it, or its parts reordered.

Encoding minutes of audio takes longer than training on them. Cuts are in pauses and between audio
tokens, so times shift by whole tokens.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from training.tiny_asr import checkpoints
from training.tiny_asr.recordings import Recording, Segment
from vibevoice_core.audio import SAMPLE_RATE, TOKEN_SAMPLES

LEAST_PAUSE = 0.4
"""Minimum pause in seconds for a cut between two segments: three audio tokens."""


@dataclass(frozen=True)
class EncodedRecording:
    embeddings: torch.Tensor
    """(audio tokens, hidden) float16, from the projector."""
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Part:
    """A part of a recording with whole segments, from audio token `first` to before `last`."""

    first: int
    last: int
    segments: tuple[Segment, ...]


def parts(encoded: EncodedRecording) -> list[Part]:
    """Cut the recording at every pause that is long enough."""
    cuts, firsts = [0], [0]
    for index, (a, b) in enumerate(zip(encoded.segments, encoded.segments[1:], strict=False), 1):
        if b.start - a.end >= LEAST_PAUSE:
            cuts.append(round((a.end + b.start) / 2 * SAMPLE_RATE / TOKEN_SAMPLES))
            firsts.append(index)
    ends = [*cuts[1:], len(encoded.embeddings)]
    lasts = [*firsts[1:], len(encoded.segments)]
    return [
        Part(cut, end, encoded.segments[first:last])
        for cut, end, first, last in zip(cuts, ends, firsts, lasts, strict=True)
    ]


def shifted(segment: Segment, by: float, speaker: int) -> Segment:
    """The same words `by` seconds later, from another speaker."""
    words = tuple((word, start + by, end + by) for word, start, end in segment.words)
    return Segment(segment.start + by, segment.end + by, speaker, words)


def joined(
    encoded: EncodedRecording, chosen: list[Part], rng: np.random.Generator
) -> tuple[Recording, EncodedRecording]:
    """Parts of `encoded` as a recording of their own. Its samples are placeholders of the right
    length."""
    order: list[int] = []
    segments: list[Segment] = []
    position = 0
    for part in chosen:
        by = (position - part.first) * TOKEN_SAMPLES / SAMPLE_RATE
        for segment in part.segments:
            if segment.speaker not in order:
                order.append(segment.speaker)
            segments.append(shifted(segment, by, order.index(segment.speaker)))
        position += part.last - part.first
    embeddings = torch.cat([encoded.embeddings[part.first : part.last] for part in chosen])
    length = position * TOKEN_SAMPLES - int(rng.integers(TOKEN_SAMPLES // 2))
    silence = np.broadcast_to(np.float32(0), length)
    return Recording(silence, tuple(segments), ()), EncodedRecording(embeddings, tuple(segments))


def rearranged(
    encoded: EncodedRecording, frames: int, rng: np.random.Generator
) -> tuple[Recording, EncodedRecording]:
    """About `frames` audio tokens of `encoded`: one part, or several in random order."""
    whole = parts(encoded)
    if rng.random() < 0.5:  # one part; usually from the beginning of the recording
        first = 0 if rng.random() < 0.5 else int(rng.integers(len(whole)))
        stretch = whole[first:]
    else:
        stretch, size = [], int(rng.integers(1, 8))
        while sum(part.last - part.first for part in stretch) < frames:
            at = int(rng.integers(len(whole)))
            stretch += whole[at : at + size]
    lengths = np.cumsum([part.last - part.first for part in stretch])
    return joined(encoded, stretch[: max(1, int(np.searchsorted(lengths, frames)))], rng)


def saved(recordings: list[EncodedRecording], file: Path) -> None:
    """Write atomically, so that readers never see an incomplete file."""
    items = [
        {
            "embeddings": h.embeddings,
            "segments": [
                (
                    float(s.start),
                    float(s.end),
                    s.speaker,
                    tuple((str(word), float(start), float(end)) for word, start, end in s.words),
                )
                for s in h.segments
            ],
        }
        for h in recordings
    ]
    checkpoints.write(items, file)


def loaded(file: Path) -> list[EncodedRecording]:
    return [
        EncodedRecording(item["embeddings"], tuple(Segment(*s) for s in item["segments"]))
        for item in torch.load(file, weights_only=True)
    ]


class Pool:
    """The encoded recordings in a folder, to which files may still be added."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: set[Path] = set()
        self.recordings: list[EncodedRecording] = []

    def refresh(self) -> None:
        for file in sorted(set(self._folder.glob("*.pt")) - self._read):
            self.recordings += loaded(file)
            self._read.add(file)
