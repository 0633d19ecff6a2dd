"""Distinguishes the words of the segment being written from the JSON scaffold, by token.

VibeVoice-ASR answers `[{"Start":0.0,"End":1.5,"Speaker":0,"Content":"some words"},…]`. The words of
the segment being written are the tokens inside the currently open `Content` string. A small
automaton over characters recognizes that string. Here it is extended to tokens, so that following
an answer takes one table lookup per token, both in Python (one request) and in torch (a batch on
the device).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_KEY = "Content"

OUTSIDE = 0
"""The initial state: not inside any string."""
_KEY_START = 1
"""States 1 … 8: inside a string that so far matches the first 0 … 7 characters of `Content`."""
_OTHER_STRING = _KEY_START + len(_KEY) + 1
_OTHER_ESCAPE = _OTHER_STRING + 1
_AFTER_KEY = _OTHER_STRING + 2
_AFTER_COLON = _OTHER_STRING + 3
IN_CONTENT = _OTHER_STRING + 4
"""Inside a `Content` string: the next token may be a word of the segment being written."""
IN_CONTENT_ESCAPE = _OTHER_STRING + 5
"""Inside a `Content` string, right after a backslash."""
STATES = _OTHER_STRING + 6

MAX_WORDS = 256
"""Number of distinct words remembered in the open segment. Beyond it, a new word replaces the
oldest, so a loop of up to this many words is found however long the segment is. A minute of fast
speech has about 200 words, about half of them distinct."""

_ALPHABET = '"\\: \n\t\r' + "".join(sorted(set(_KEY)))
"""The characters that the automaton distinguishes; it treats all others alike."""


def _step(state: int, character: str) -> int:
    """The state after one character of an answer."""
    if state == IN_CONTENT:
        return {'"': OUTSIDE, "\\": IN_CONTENT_ESCAPE}.get(character, IN_CONTENT)
    if state == IN_CONTENT_ESCAPE:
        return IN_CONTENT
    if state == _OTHER_ESCAPE:
        return _OTHER_STRING
    if _KEY_START <= state <= _OTHER_STRING:
        if character == '"':
            return _AFTER_KEY if state == _KEY_START + len(_KEY) else OUTSIDE
        if character == "\\":
            return _OTHER_ESCAPE
        rest = _KEY[state - _KEY_START :] if state < _OTHER_STRING else ""
        return state + 1 if rest.startswith(character) else _OTHER_STRING
    if character.isspace():
        return state
    if character == '"':
        return IN_CONTENT if state == _AFTER_COLON else _KEY_START
    return _AFTER_COLON if state == _AFTER_KEY and character == ":" else OUTSIDE


def _is_word(text: str) -> bool:
    """Whether a token of this text counts as part of a word: letters or digits, and no JSON syntax.

    Tokens that are parts of a character do not count: in scripts whose characters all begin with
    the same bytes, a penalty on those bytes would soon make it impossible to write.
    """
    return any(c.isalnum() for c in text) and not any(c in text for c in '"\\\ufffd')


@dataclass(frozen=True)
class Vocabulary:
    """The automaton, extended to the tokens of one vocabulary."""

    next_state: np.ndarray
    """(tokens, STATES) uint8: the state after a token, for each state before it."""
    is_word: np.ndarray
    """(tokens,) bool: whether a token inside a `Content` string counts as a word."""

    @classmethod
    def from_texts(
        cls, texts: Sequence[str], *, special: Iterable[int] = (), size: int = 0
    ) -> "Vocabulary":
        """Texts of tokens 0 … n-1. `special` ids are never words; `size` > n adds unknown
        tokens."""
        alphabet = np.array([ord(c) for c in _ALPHABET])
        step = np.array([[_step(s, c) for s in range(STATES)] for c in [*_ALPHABET, "\0"]], "u1")
        count = max(size, len(texts))
        next_state = np.tile(np.arange(STATES, dtype="u1"), (count, 1))
        lengths = np.zeros(count, dtype=np.int64)
        lengths[: len(texts)] = [len(text) for text in texts]
        characters = np.array([*texts, *[""] * (count - len(texts))])
        codes = characters.view("u4").reshape(count, -1)
        for position in range(codes.shape[1]):
            rows = np.flatnonzero(lengths > position)
            column = codes[rows, position]
            found = column[:, None] == alphabet[None, :]
            kind = np.where(found.any(1), found.argmax(1), len(alphabet))
            next_state[rows] = step[kind[:, None], next_state[rows]]
        is_word = np.zeros(count, dtype=bool)
        is_word[: len(texts)] = [_is_word(text) for text in texts]
        is_word[list(special)] = False
        return cls(next_state, is_word)

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, size: int) -> "Vocabulary":
        """The vocabulary of a transformers tokenizer, padded to the model's output `size`."""
        texts = tokenizer.batch_decode([[token] for token in range(min(len(tokenizer), size))])
        added = [token for token in tokenizer.added_tokens_decoder if token < size]
        return cls.from_texts(texts, special=added, size=size)


class Segment:
    """Follows one answer and counts the words of the segment being written."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.state = OUTSIDE
        self.counts: dict[int, int] = {}
        """Count of each word token in the open `Content` string, for at most `MAX_WORDS` tokens in
        order of appearance; empty outside of a `Content` string."""

    def read(self, tokens: Iterable[int]) -> None:
        """Read the next tokens of the answer."""
        for token in tokens:
            before = self.state
            self.state = int(self._vocabulary.next_state[token, before])
            if self.state not in (IN_CONTENT, IN_CONTENT_ESCAPE):
                self.counts.clear()
            elif before == IN_CONTENT and self._vocabulary.is_word[token]:
                self._count(token)

    def _count(self, token: int) -> None:
        if token not in self.counts and len(self.counts) == MAX_WORDS:
            del self.counts[next(iter(self.counts))]
        self.counts[token] = self.counts.get(token, 0) + 1
