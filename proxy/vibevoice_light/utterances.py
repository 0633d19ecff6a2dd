"""Turns voice activity into utterances: the speech between two silences, by any number of
speakers."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from vibevoice_light.audio import SAMPLE_RATE
from vibevoice_light.islands import MIN_FRAMES, Island, Islands
from vibevoice_light.voice_activity import FRAME

LONG_SECONDS = 20.0
"""A longer utterance ends at the next pause, or after 8 s without one."""
FRAME_SECONDS = FRAME / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Detection:
    """Parameters for the start and end of utterances; the defaults are those of OpenAI's
    `server_vad`."""

    threshold: float = 0.5
    """Speech probability that starts an utterance."""
    prefix_seconds: float = 0.3
    """Seconds of audio included before the first speech."""
    silence_seconds: float = 0.5
    """Seconds of silence that end an utterance."""


class Span(NamedTuple):
    """The audio of an utterance, in seconds from the beginning of the recording."""

    start: float
    end: float


class Step(NamedTuple):
    """The result of processing one frame."""

    started: float | None
    """Start of a new utterance, in seconds."""
    islands: list[Island]
    """Completed islands; they belong to the open utterance."""
    ended: Span | None
    """The completed utterance."""


class Utterances:
    """Finds the utterances of one recording as its frames arrive."""

    def __init__(self, detection: Detection | None) -> None:
        """With None, utterances end when `commit` is called, and the next one starts there."""
        self._islands = Islands()
        self._detection: Detection | None = None
        self._floor = 0.0
        """Earliest start of the next utterance, in seconds: the end of the last one, or of
        discarded audio."""
        self._start: float | None = None
        self.detect(detection)

    @property
    def seconds(self) -> float:
        """Seconds of audio processed."""
        return self._islands.frames * FRAME_SECONDS

    @property
    def silence_seconds(self) -> float:
        """Seconds of silence that end an utterance; infinite if the client commits utterances."""
        return self._detection.silence_seconds if self._detection else math.inf

    @property
    def start(self) -> float | None:
        """Start of the open utterance, in seconds; None if there is none."""
        return self._start

    @property
    def speech_start(self) -> float | None:
        """Start of the current island, in seconds; None during a pause."""
        start = self._islands.start
        return None if start is None else start * FRAME_SECONDS

    @property
    def settled(self) -> float:
        """No future island starts before this time, in seconds."""
        return self._islands.settled * FRAME_SECONDS

    @property
    def needed(self) -> float:
        """No open or future utterance starts before this time, in seconds."""
        if self._start is not None:
            return self._start
        prefix = self._detection.prefix_seconds if self._detection else 0.0
        return max(self._floor, self.settled - prefix)

    def detect(self, detection: Detection | None) -> None:
        """Change the parameters; an open utterance stays open. The next one cannot start before the
        audio that is buffered now."""
        if self._start is None:
            self._floor = self.needed
        if detection is None and self._start is None:
            self._start = self._floor
        elif detection and self._detection is None:
            self._start = None
        self._detection = detection
        self._islands.listen_from((detection or Detection()).threshold)

    def step(self, probability: float) -> Step:
        """Process the next frame."""
        islands = self._islands.step(probability)
        if self._detection is None:
            return Step(None, islands, None)
        started = None
        begin, speech_end = self._islands.start, self._islands.speech_end
        if self._start is None:
            if begin is None or speech_end - begin < MIN_FRAMES:
                return Step(None, islands, None)
            before = begin * FRAME_SECONDS - self._detection.prefix_seconds
            started = self._start = max(self._floor, before)
        if self.seconds - speech_end * FRAME_SECONDS >= self._detection.silence_seconds:
            islands += self._islands.finish()
            return Step(started, islands, self._end(self.seconds))
        if islands and islands[-1].end * FRAME_SECONDS - self._start >= LONG_SECONDS:
            end = self.seconds if begin is None else islands[-1].end * FRAME_SECONDS
            return Step(started, islands, self._end(end))
        return Step(started, islands, None)

    def commit(self) -> Step:
        """End the open utterance now. Without one, the buffered audio becomes an utterance."""
        self._start = self.needed
        return Step(None, self._islands.finish(), self._end(self.seconds))

    def clear(self) -> None:
        """Discard the open utterance and all audio since the last one."""
        self._islands.finish()
        self._end(self.seconds)

    def _end(self, end: float) -> Span:
        span = Span(self._floor if self._start is None else self._start, end)
        self._floor = end
        self._start = end if self._detection is None else None
        return span
