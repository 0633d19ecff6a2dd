"""Tracks the words of every request's open segment on the device, for vLLM's second runner.

Equivalent to `word_tokens.Segment`, but for all rows of a step at once. A request slot has
`MAX_WORDS` lanes, each with a word and its count. A step reads and updates lanes, never whole
vocabularies. Its tensor shapes depend only on the number of rows, and it waits for nothing.
"""

from collections.abc import Mapping

import numpy as np
import torch
from vllm.utils.torch_utils import async_tensor_h2d

from vibevoice_vllm.word_tokens import (
    IN_CONTENT,
    IN_CONTENT_ESCAPE,
    MAX_WORDS,
    STATES,
    Segment,
    Vocabulary,
)


class SlotWords:
    """Words and counts of `slots` request slots; 12 bytes per lane, 3 KiB per slot."""

    def __init__(self, vocabulary: Vocabulary, slots: int, device: torch.device) -> None:
        states = np.arange(STATES, dtype=vocabulary.next_state.dtype)
        after = np.concatenate([vocabulary.next_state, states[None]])
        is_word = np.append(vocabulary.is_word, False)[:, None]
        counted = is_word & (states == IN_CONTENT) & (after == IN_CONTENT)
        inside = (after == IN_CONTENT) | (after == IN_CONTENT_ESCAPE)
        self._device = device
        self._moves = torch.from_numpy(np.stack([after, counted, inside], axis=-1)).to(device)
        """(tokens + 1, STATES, 3) uint8: the state after a token, whether it counts as a word, and
        whether a segment is then open. The last row is for a token that changes nothing."""
        self._lanes = torch.arange(MAX_WORDS, device=device)
        self._progress = torch.zeros((slots, 3), dtype=torch.long, device=device)
        """(slots, 3): the state, the position of the next token to read, and the number of distinct
        words. Only that many lanes are in use, so a zero clears them when a segment ends."""
        self._words = torch.zeros((slots, MAX_WORDS + 1), dtype=torch.long, device=device)
        """(slots, lanes): token ids. The last lane receives the tokens that are not words."""
        self._counts = torch.zeros((slots, MAX_WORDS + 1), dtype=torch.int32, device=device)

    def start(self, segments: Mapping[int, tuple[Segment, int]]) -> None:
        """Assign slots to new requests: what each has written, and the position after it."""
        progress = np.zeros((len(segments), 3), dtype=np.int64)
        words = np.zeros((len(segments), MAX_WORDS), dtype=np.int64)
        counts = np.zeros((len(segments), MAX_WORDS), dtype=np.int32)
        for row, (segment, position) in enumerate(segments.values()):
            used = len(segment.counts)
            progress[row] = segment.state, position, used
            words[row, :used] = list(segment.counts)
            counts[row, :used] = list(segment.counts.values())
        slots = async_tensor_h2d(list(segments), self._device, torch.long)
        self._progress[slots] = async_tensor_h2d(progress, self._device)
        self._words[slots, :MAX_WORDS] = async_tensor_h2d(words, self._device)
        self._counts[slots, :MAX_WORDS] = async_tensor_h2d(counts, self._device)

    def read(
        self, slots: torch.Tensor, tokens: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Read one token for each of several distinct slots, and return the slots' words.

        A token is ignored if its position is not the next one: the row is still processing its
        prompt or, after a preemption, its own earlier tokens.

        Args:
            slots, tokens, positions: (rows,) int64.

        Returns:
            The words (rows, MAX_WORDS) int64, their counts (rows, MAX_WORDS) int32, and whether a
            row has any words (rows, 1) bool. Unused lanes repeat the first.
        """
        state, position, distinct = self._progress[slots].unbind(1)
        new = positions == position
        tokens = torch.where(new, tokens, len(self._moves) - 1)
        state, word, inside = self._moves[tokens, state].long().unbind(1)

        same = self._words[slots, :MAX_WORDS] == tokens[:, None]
        known, lane = (same & (self._lanes < distinct[:, None])).max(1)
        lane = torch.where(known, lane, distinct % MAX_WORDS)
        count = self._counts[slots, lane] * known + 1
        lane = torch.where(word > 0, lane, MAX_WORDS)
        self._words[slots, lane] = tokens
        self._counts[slots, lane] = count
        distinct = (distinct + (word > known)) * inside
        self._progress[slots] = torch.stack([state, position + new, distinct], 1)

        used = self._lanes < distinct[:, None]
        words, counts = self._words[slots, :MAX_WORDS], self._counts[slots, :MAX_WORDS]
        words = torch.where(used, words, words[:, :1])
        return words, torch.where(used, counts, counts[:, :1]), distinct[:, None] > 0
