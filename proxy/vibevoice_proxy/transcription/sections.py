"""Cuts a recording at quiet points into sections that the model can transcribe in one pass.

A short recording is one section. Sections neither overlap nor leave gaps.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from vibevoice_core.audio import SAMPLE_RATE

SEARCH_SECONDS = 60
"""The quietest point is searched for in this last part of a section, or in the last quarter of a
short section."""
PAUSE_SAMPLES = SAMPLE_RATE * 3 // 10
"""That point is the middle of the quietest 0.3 s, a typical pause between sentences."""
HOP_SAMPLES = SAMPLE_RATE // 100


@dataclass(frozen=True, slots=True)
class Section:
    """A section of audio: mono, 24 kHz, 16 bit, encoded in `file`."""

    file: BinaryIO
    size: int
    """Bytes in `file`."""
    media_type: str
    first: int
    """Its position in the recording, in samples at 24 kHz."""
    samples: int
    """Its length, in samples at 24 kHz."""
    is_silent: bool
    """Whether no sample exceeds -81 dBFS."""

    @property
    def start(self) -> float:
        """Seconds from the beginning of the recording."""
        return self.first / SAMPLE_RATE

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.samples / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Recording:
    """Decoded audio in one or more consecutive sections."""

    sections: tuple[Section, ...]
    lost_seconds: float = 0.0
    """Seconds missing at the end of the file; 0 unless it was cut off."""

    @property
    def size(self) -> int:
        """Total bytes of the encoded sections."""
        return sum(section.size for section in self.sections)

    @property
    def samples(self) -> int:
        """Samples at 24 kHz."""
        return sum(section.samples for section in self.sections)

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.samples / SAMPLE_RATE


def cut(
    blocks: Iterable[NDArray[np.int16]], max_samples: int
) -> Iterator[tuple[int, NDArray[np.int16]]]:
    """Yield all samples of `blocks`, shape (samples,), with the number of their section, from 0.

    A section has at most `max_samples`. Only the search window is held in memory.
    """
    window = min(SEARCH_SECONDS * SAMPLE_RATE, max_samples // 4)
    number = written = held_samples = 0
    held: list[NDArray[np.int16]] = []
    for block in _short(blocks, window):
        if written + held_samples + len(block) > max_samples:
            samples = np.concatenate(held)
            at = quietest_point(samples)
            yield number, samples[:at]
            number += 1
            yield number, samples[at:]
            written, held_samples, held = len(samples) - at, 0, []
        if held or written + len(block) > max_samples - window:
            held.append(block)
            held_samples += len(block)
        else:
            yield number, block
            written += len(block)
    for block in held:
        yield number, block


def quietest_point(samples: NDArray[np.int16]) -> int:
    """Index of the middle of the quietest 0.3 s in `samples`, shape (samples,); the last one if
    there are several."""
    hops = len(samples) // HOP_SAMPLES
    pause = min(PAUSE_SAMPLES // HOP_SAMPLES, hops)
    if not pause:
        return len(samples) // 2
    squares = samples[: hops * HOP_SAMPLES].reshape(hops, HOP_SAMPLES).astype(np.float64) ** 2
    sums = np.concatenate([[0.0], np.cumsum(squares.sum(axis=1))])
    energies = sums[pause:] - sums[:-pause]
    last = len(energies) - 1 - int(np.argmin(energies[::-1]))
    return (2 * last + pause) * HOP_SAMPLES // 2


def _short(blocks: Iterable[NDArray[np.int16]], window: int) -> Iterator[NDArray[np.int16]]:
    """Split `blocks` into parts of at most a tenth of the window, so none skips over it."""
    size = max(1, window // 10)
    for block in blocks:
        for at in range(0, len(block), size):
            yield block[at : at + size]
