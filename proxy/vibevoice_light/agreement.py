"""Words of speech that goes on, which are never taken back once they are given out.

A word is given out when two decodes one after the other agree on it and on all before it
(LocalAgreement-2; Macháček, Dabre and Bojar: "Turning Whisper into Real-Time Transcription System",
2023). The last word of a decode is never one of them: it may be half a word.
"""

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import takewhile


class Agreement:
    """The words of one stretch of audio that grows until it is a segment."""

    def __init__(self) -> None:
        self._given: list[str] = []
        """Words given out of what is not yet in a segment."""
        self._before: list[str] = []
        """The words of the decode before."""

    def agree(self, text: str) -> str:
        """The words to give out now that the audio so far is heard as `text`; empty for none."""
        words = text.split()[:-1]
        pairs = zip(words, self._before, strict=False)
        count = sum(1 for _ in takewhile(lambda pair: _key(pair[0]) == _key(pair[1]), pairs))
        self._before = words
        new = words[len(self._given) : count]
        self._given += new
        return " ".join(new)

    def settle(self, text: str) -> str:
        """The words of the segment `text` that were not given out; what was given out beyond it
        belongs to the next one."""
        words = text.split()
        known, ahead = _covered(self._given, words)
        self._given = self._given[len(self._given) - ahead :]
        self._before = []
        return " ".join(words[known:])


def _covered(given: Sequence[str], words: Sequence[str]) -> tuple[int, int]:
    """How many of `words` the words `given` stand for, and how many of `given` are beyond them."""
    matcher = SequenceMatcher(None, list(map(_key, given)), list(map(_key, words)), autojunk=False)
    blocks = [block for block in matcher.get_matching_blocks() if block.size]
    end = (blocks[-1].a + blocks[-1].size, blocks[-1].b + blocks[-1].size) if blocks else (0, 0)
    rest = min(len(given) - end[0], len(words) - end[1])
    return end[1] + rest, len(given) - end[0] - rest


def _key(word: str) -> str:
    """A word as it is compared: without case and without the punctuation around it."""
    return word.strip(".,;:!?\"'()-").lower()
