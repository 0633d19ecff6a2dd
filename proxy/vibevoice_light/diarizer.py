"""Splits islands of speech into stretches of one speaker each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vibevoice_light.audio import SAMPLE_RATE
from vibevoice_light.embeddings import SpeakerEmbedder, Window
from vibevoice_light.islands import Island
from vibevoice_light.speakers import Speakers, Voice
from vibevoice_light.turns import Stretch
from vibevoice_light.voice_activity import FRAME

BATCH_SECONDS = 10.0
"""With look-ahead, islands are labeled in batches of this many seconds."""
SHIFT_SECONDS = 0.4
"""Maximum distance in seconds that a speaker boundary moves to reach a quiet point."""
QUIET_SAMPLES = SAMPLE_RATE // 50


@dataclass(frozen=True, slots=True)
class _Heard:
    """An island and its voice embeddings."""

    start: float
    end: float
    windows: list[Window]
    energies: NDArray[np.float32]
    """Energy of each 20 ms, shape (hops,)."""


class Diarizer:
    """Assigns speakers to the islands of one recording, in order."""

    def __init__(self, embedder: SpeakerEmbedder, lookahead: float) -> None:
        """`lookahead`: seconds of the recording to process before an island is labeled; 0 for live
        audio."""
        self._embedder = embedder
        self._lookahead = lookahead
        self._speakers = Speakers()
        self._waiting: list[_Heard] = []

    @property
    def start(self) -> float | None:
        """Start of the first unlabeled island, in seconds; None if there is none."""
        return self._waiting[0].start if self._waiting else None

    def feed(self, island: Island, samples: NDArray[np.float32]) -> list[Stretch]:
        """Add `island` with its `samples`; return the stretches that can be labeled now."""
        start = island.start * FRAME / SAMPLE_RATE
        end = island.end * FRAME / SAMPLE_RATE
        count = len(samples) // QUIET_SAMPLES
        energies = np.square(samples[: count * QUIET_SAMPLES]).reshape(count, -1).mean(axis=1)
        self._waiting.append(_Heard(start, end, self._embedder.embed(samples), energies))
        batch = BATCH_SECONDS if self._lookahead else 0.0
        if end - self._waiting[0].start < self._lookahead + batch:
            return []
        return self._label(end - self._lookahead)

    def finish(self) -> list[Stretch]:
        """The stretches of all remaining islands."""
        return self._label(np.inf)

    def _label(self, until: float) -> list[Stretch]:
        """The stretches of the islands that begin no later than `until` seconds."""
        chosen = [heard for heard in self._waiting if heard.start <= until]
        voices = [
            Voice(window.vector, window.end - window.start)
            for heard in self._waiting
            for window in heard.windows
        ]
        count = sum(len(heard.windows) for heard in chosen)
        labels = self._speakers.label(voices, count)
        self._waiting = self._waiting[len(chosen) :]
        stretches: list[Stretch] = []
        for heard in chosen:
            own, labels = labels[: len(heard.windows)], labels[len(heard.windows) :]
            stretches += _stretches(heard, own)
        return stretches


def _stretches(heard: _Heard, labels: list[int]) -> list[Stretch]:
    """Cut an island where its speaker changes."""
    stretches: list[Stretch] = []
    start = heard.start
    for at in range(1, len(labels)):
        if labels[at] != labels[at - 1]:
            before, after = heard.windows[at - 1], heard.windows[at]
            middle = (before.start + before.end + after.start + after.end) / 4
            end = heard.start + _quietest(heard.energies, middle)
            if end > start:
                stretches.append(Stretch(start, end, labels[at - 1]))
                start = end
    return [*stretches, Stretch(start, heard.end, labels[-1])] if labels else []


def _quietest(energies: NDArray[np.float32], seconds: float) -> float:
    """The middle of the quietest 20 ms near `seconds`, in seconds."""
    hop = QUIET_SAMPLES / SAMPLE_RATE
    first = max(0, round((seconds - SHIFT_SECONDS) / hop))
    near = energies[first : round((seconds + SHIFT_SECONDS) / hop)]
    return (first + int(near.argmin()) + 0.5) * hop if len(near) else seconds
