"""Detects when the model repeats itself endlessly.

A language model can get into a loop and write the same words again and again until it runs out of
tokens. People repeat themselves too, so repetition alone proves nothing. But every segment states
when it was spoken, and a loop has more words than anybody could have said in that time.
"""

from collections import deque

from vibevoice_proxy.transcription.transcript import Segment

MAX_SPEECH_RATE = 40.0
"""Characters per second that no one can speak. The fastest talkers reach 11 syllables per second
(about 30 letters in English; a Chinese syllable is one character)."""
MIN_SECONDS = 0.5
"""Shorter spans count as this long, since the model rounds times."""
MIN_REPEATS = 8
"""Minimum consecutive repetitions of a phrase for a possible loop."""
ENDLESS_REPEATS = 20
ENDLESS_CHARS = 1000
"""This many repetitions with this many characters in total are a loop at any speed: it would be a
minute of nothing else."""
TAIL_CHARS = 2048
"""Number of characters at the end of a text that are checked."""
RECENT_SEGMENTS = 8
"""Maximum number of segments in a detectable cycle."""
MIN_REPEATED_SEGMENTS = 6


def is_loop(text: str, seconds: float | None) -> bool:
    """Whether `text`, from a segment that is still being written, ends in a loop.

    `seconds`: the length that the segment states; None if unknown.
    """
    tail = " ".join(text[-TAIL_CHARS:].casefold().split())
    for length, period in _periodic_ends(tail):
        repeats = length / period
        if repeats >= ENDLESS_REPEATS and length >= ENDLESS_CHARS:
            return True
        if seconds is not None and repeats >= MIN_REPEATS and _takes_longer(len(text), seconds):
            return True
    return False


class LoopWatch:
    """Forwards segments, but holds back those that repeat a recent one in too short a time, until
    other segments follow or they turn out to be a loop."""

    def __init__(self) -> None:
        self.is_looping = False
        """Whether the held segments are a loop; if so, they are never forwarded."""
        self._recent: deque[str] = deque(maxlen=RECENT_SEGMENTS)
        self._held: list[Segment] = []
        self._end = 0.0

    def pass_on(self, segment: Segment) -> list[Segment]:
        """Add `segment` and return the segments that can be sent to the client."""
        text = segment.text.casefold()
        chars = sum(len(held.text) for held in [*self._held, segment])
        seconds = max(held.end for held in [*self._held, segment]) - self._end
        if text in self._recent and _takes_longer(chars, seconds, least=0.0):
            self._held.append(segment)
            enough = len(self._held) >= MIN_REPEATED_SEGMENTS
            self.is_looping = enough and _takes_longer(chars, seconds)
            return []
        self._recent.append(text)
        released = [*self.finish(), segment]
        self._end = max(self._end, segment.end)
        return released

    def finish(self) -> list[Segment]:
        """The segments still held back, unless they are a loop."""
        released = [] if self.is_looping else self._held
        self._held = []
        self._end = max([self._end, *(segment.end for segment in released)])
        return released


def _takes_longer(chars: int, seconds: float, least: float = MIN_SECONDS) -> bool:
    """Whether `chars` characters cannot be spoken in the time given."""
    return chars > MAX_SPEECH_RATE * max(seconds, least)


def _periodic_ends(text: str) -> list[tuple[int, int]]:
    """(length, period) of each suffix of `text` that repeats a phrase at least MIN_REPEATS times.

    The Knuth-Morris-Pratt failure function of the reversed text gives the shortest period of each
    suffix in linear time.
    """
    reverse = text[::-1]
    failure = [0] * len(reverse)
    ends = []
    matched = 0
    for at in range(1, len(reverse)):
        while matched and reverse[at] != reverse[matched]:
            matched = failure[matched - 1]
        matched += reverse[at] == reverse[matched]
        failure[at] = matched
        length, period = at + 1, at + 1 - matched
        if length >= MIN_REPEATS * period:
            ends.append((length, period))
    return ends
