"""Places the decoded frames of a track on a player's timeline."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic

import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.resampling import Resampler, Sample
from vibevoice_core.timeline import Span, Timeline


def silence(samples: int, dtype: type[Sample]) -> Iterator[NDArray[Sample]]:
    """Blocks of silence, `samples` in total."""
    while samples > 0:
        yield np.zeros(min(samples, SAMPLE_RATE), dtype)
        samples -= SAMPLE_RATE


class Placer(Generic[Sample]):
    """Places the frames of a track where a player would, with silence in the container's gaps.

    This is a class because closures would keep the container alive for as long as any traceback
    exists.
    """

    def __init__(
        self, timeline: Timeline, resampler: Resampler[Sample], dtype: type[Sample]
    ) -> None:
        self._timeline = timeline
        self._resampler = resampler
        self._dtype = dtype
        self._waiting: deque[AudioFrame] = deque()
        self._position = 0.0
        self._emitted = 0

    @property
    def seconds(self) -> float:
        """Length of all samples so far."""
        return self._emitted / SAMPLE_RATE

    def blocks(self, frames: Iterable[AudioFrame]) -> Iterator[NDArray[Sample]]:
        """The samples of all frames."""
        for frame in frames:
            self._waiting.append(frame)
            seconds = frame.samples / frame.sample_rate
            for start in self._timeline.feed(Span(frame.time, seconds)):
                yield from self._put(start)
        for start in self._timeline.finish():
            yield from self._put(start)
        yield from self._counted(self._resampler.flush())

    def _put(self, start: float) -> Iterator[NDArray[Sample]]:
        """Emit the earliest waiting frame, which begins at `start` seconds."""
        frame = self._waiting.popleft()
        if start > self._position + 1e-6:
            yield from self._counted(self._resampler.flush())
            missing = round(start * SAMPLE_RATE) - self._emitted
            yield from self._counted(silence(missing, self._dtype))
        self._position = start + frame.samples / frame.sample_rate
        yield from self._counted(self._resampler.feed(frame))

    def _counted(self, blocks: Iterable[NDArray[Sample]]) -> Iterator[NDArray[Sample]]:
        for block in blocks:
            self._emitted += len(block)
            yield block
