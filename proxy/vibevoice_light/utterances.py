"""Voice activity → utterances: what is said between two silences, by any number of speakers."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from vibevoice_light.audio import SAMPLE_RATE
from vibevoice_light.islands import MIN_FRAMES, Island, Islands
from vibevoice_light.voice_activity import FRAME

LONG_SECONDS = 20.0
"""A longer utterance ends at the next pause, or within 8 s where there is none."""
FRAME_SECONDS = FRAME / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Detection:
    """When an utterance begins and ends; the defaults are those of OpenAI's `server_vad`."""

    threshold: float = 0.5
    """Probability of speech at which it begins."""
    prefix_seconds: float = 0.3
    """Audio before the first speech that belongs to it."""
    silence_seconds: float = 0.5
    """Silence that ends it."""


class Span(NamedTuple):
    """The audio of an utterance, in seconds from the beginning of the recording."""

    start: float
    end: float


class Step(NamedTuple):
    """What one frame brings."""

    started: float | None
    """Where the utterance begins that is heard from now on, in seconds."""
    islands: list[Island]
    """Islands that are whole now; they belong to the open utterance."""
    ended: Span | None
    """The utterance that is whole now."""


class Utterances:
    """Finds the utterances of one recording as its frames come in."""

    def __init__(self, detection: Detection | None) -> None:
        """None: an utterance ends when `commit` is called, and the next one begins there."""
        self._islands = Islands()
        self._detection: Detection | None = None
        self._floor = 0.0
        """Seconds before which no utterance begins: there the one before ended, or audio is
        forgotten."""
        self._start: float | None = None
        self.detect(detection)

    @property
    def seconds(self) -> float:
        """How much was heard."""
        return self._islands.frames * FRAME_SECONDS

    @property
    def silence_seconds(self) -> float:
        """Silence that ends an utterance; endless where the client ends it."""
        return self._detection.silence_seconds if self._detection else math.inf

    @property
    def start(self) -> float | None:
        """Where the open utterance begins, in seconds; None where there is none."""
        return self._start

    @property
    def speech_start(self) -> float | None:
        """Where the island begins that is being heard, in seconds; None in a pause."""
        start = self._islands.start
        return None if start is None else start * FRAME_SECONDS

    @property
    def settled(self) -> float:
        """Seconds before which no island is still to come."""
        return self._islands.settled * FRAME_SECONDS

    @property
    def needed(self) -> float:
        """Seconds before which no utterance that is open or still to come begins."""
        if self._start is not None:
            return self._start
        prefix = self._detection.prefix_seconds if self._detection else 0.0
        return max(self._floor, self.settled - prefix)

    def detect(self, detection: Detection | None) -> None:
        """Go on with other parameters; an open utterance stays open. The next one begins in audio
        that was needed until now: what comes before is forgotten."""
        if self._start is None:
            self._floor = self.needed
        if detection is None and self._start is None:
            self._start = self._floor
        elif detection and self._detection is None:
            self._start = None
        self._detection = detection
        self._islands.listen_from((detection or Detection()).threshold)

    def step(self, probability: float) -> Step:
        """Take the next frame."""
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
        """End the open utterance now. Where there is none, the audio that is needed is one."""
        self._start = self.needed
        return Step(None, self._islands.finish(), self._end(self.seconds))

    def clear(self) -> None:
        """Forget the open utterance, and what came since the one before."""
        self._islands.finish()
        self._end(self.seconds)

    def _end(self, end: float) -> Span:
        span = Span(self._floor if self._start is None else self._start, end)
        self._floor = end
        self._start = end if self._detection is None else None
        return span
