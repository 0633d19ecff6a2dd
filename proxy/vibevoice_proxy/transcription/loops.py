"""When the model repeats itself without end.

A language model may fall into a loop: it writes the same words again and again until it runs out of
tokens. People repeat themselves too, so a repetition alone proves nothing. What gives a loop away
is time: every segment says when it was spoken, and a loop claims more words than anybody could have
said in it.
"""

from collections import deque

from vibevoice_proxy.transcription.transcript import Segment

MAX_SPEECH_RATE = 40.0
"""Characters a second that nobody speaks. The fastest talkers reach 11 syllables a second (about 30
letters in English; a Chinese syllable is one character)."""
MIN_SECONDS = 0.5
"""Shorter spans count as this long: the model's times are rounded."""
MIN_REPEATS = 8
"""Of one phrase in a row, before a loop is thought of."""
ENDLESS_REPEATS = 20
ENDLESS_CHARS = 1000
"""So many repeats of so many characters are a loop at any speed: a minute of nothing else."""
TAIL_CHARS = 2048
"""As much of the end of a text is looked at."""
RECENT_SEGMENTS = 8
"""A cycle of up to so many segments is recognized."""
MIN_REPEATED_SEGMENTS = 6


def is_loop(text: str, seconds: float | None) -> bool:
    """Whether `text`, of a segment still being written, ends in a loop.

    `seconds` is how long the segment claims to be; None when that is not known.
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
    """Passes segments on, but holds back those that repeat one of the last ones without having had
    the time for it, until others follow or it is clear that they are a loop."""

    def __init__(self) -> None:
        self.is_looping = False
        """Whether the segments held back are a loop; they are never passed on then."""
        self._recent: deque[str] = deque(maxlen=RECENT_SEGMENTS)
        self._held: list[Segment] = []
        self._end = 0.0

    def pass_on(self, segment: Segment) -> list[Segment]:
        """The segments that may go to the client now that `segment` has come."""
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
    """Whether nobody can say `chars` characters in so little time."""
    return chars > MAX_SPEECH_RATE * max(seconds, least)


def _periodic_ends(text: str) -> list[tuple[int, int]]:
    """(length, period) of the ends of `text` that repeat a phrase MIN_REPEATS times or more.

    The Knuth-Morris-Pratt failure function of the reversed text gives the shortest period of each
    end in linear time.
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
