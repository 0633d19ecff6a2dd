"""Decides which words of ongoing speech are final and can be sent. Sent words are never revised.

A word is final once two consecutive decodes agree on it and on all words before it
(LocalAgreement-2; Macháček, Dabre and Bojar: "Turning Whisper into Real-Time Transcription System",
2023). The last word of a decode is never final: it may be incomplete.
"""

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import takewhile


class Agreement:
    """Tracks the words of growing audio until it becomes a segment."""

    def __init__(self) -> None:
        self._given: list[str] = []
        """Words that were sent but are not yet part of a segment."""
        self._before: list[str] = []
        """The words of the previous decode."""

    def agree(self, text: str) -> str:
        """Process the latest decode, `text`; return the words that became final, or an empty
        string."""
        words = text.split()[:-1]
        pairs = zip(words, self._before, strict=False)
        count = sum(1 for _ in takewhile(lambda pair: _key(pair[0]) == _key(pair[1]), pairs))
        self._before = words
        new = words[len(self._given) : count]
        self._given += new
        return " ".join(new)

    def settle(self, text: str) -> str:
        """The words of the segment `text` that were not sent yet. Words sent beyond its end count
        toward the next segment."""
        words = text.split()
        known, ahead = _covered(self._given, words)
        self._given = self._given[len(self._given) - ahead :]
        self._before = []
        return " ".join(words[known:])


def _covered(given: Sequence[str], words: Sequence[str]) -> tuple[int, int]:
    """How many of `words` are covered by `given`, and how many words of `given` lie beyond them."""
    matcher = SequenceMatcher(None, list(map(_key, given)), list(map(_key, words)), autojunk=False)
    blocks = [block for block in matcher.get_matching_blocks() if block.size]
    end = (blocks[-1].a + blocks[-1].size, blocks[-1].b + blocks[-1].size) if blocks else (0, 0)
    rest = min(len(given) - end[0], len(words) - end[1])
    return end[1] + rest, len(given) - end[0] - rest


def _key(word: str) -> str:
    """Normalize a word for comparison: lower case, without surrounding punctuation."""
    return word.strip(".,;:!?\"'()-").lower()
