"""The penalties with a count for every token in the vocabulary, and no limit on the words.

The tests compare the processors with these, and `bench.penalty_traffic` measures both.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from vllm.sampling_params import SamplingParams
from vllm.tokenizers.registry import cached_tokenizer_from_config
from vllm.v1.sample.logits_processor.builtin import process_dict_updates
from vllm.v1.sample.logits_processor.interface import BatchUpdate, LogitsProcessor
from vllm.v1.worker.gpu.sample.logits_processor.interface import (
    LogitsContext,
    LogitsProcRequestState,
)
from vllm.v1.worker.gpu.sample.logits_processor.interface import (
    LogitsProcessor as LogitsProcessorV2,
)

from vibevoice_core.penalties import Penalties
from vibevoice_vllm.word_tokens import IN_CONTENT, IN_CONTENT_ESCAPE, OUTSIDE, Vocabulary

if TYPE_CHECKING:
    from vllm.config import VllmConfig


def _vocabulary(config: "VllmConfig", size: int) -> Vocabulary:
    return Vocabulary.from_tokenizer(cached_tokenizer_from_config(config.model_config), size)


class Segment:
    """Follows one response and counts the words of the segment being written."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.state = OUTSIDE
        self.counts: dict[int, int] = {}
        """Occurrences of each word token in the open `Content` string; empty outside one."""

    def read(self, tokens: Iterable[int]) -> None:
        """Process the next tokens of the response."""
        for token in tokens:
            before = self.state
            self.state = int(self._vocabulary.next_state[token, before])
            if self.state not in (IN_CONTENT, IN_CONTENT_ESCAPE):
                self.counts.clear()
            elif before == IN_CONTENT and self._vocabulary.is_word[token]:
                self.counts[token] = self.counts.get(token, 0) + 1


class _Answer:
    """One running request in the first runner."""

    def __init__(self, penalties: Penalties, tokens: list[int], vocabulary: Vocabulary) -> None:
        self._penalties = penalties
        self._tokens = tokens
        self._read = 0
        self._segment = Segment(vocabulary)

    def penalize(self, logits: torch.Tensor) -> None:
        """Change one request's logits (vocabulary,) float32 in place."""
        self._segment.read(self._tokens[self._read :])
        self._read = len(self._tokens)
        if not self._segment.counts:
            return
        words = torch.tensor(list(self._segment.counts), device=logits.device)
        counts = torch.tensor(list(self._segment.counts.values()), device=logits.device)
        p, chosen = self._penalties, logits[words]
        chosen = torch.where(chosen > 0, chosen / p.repetition, chosen * p.repetition)
        logits[words] = chosen - p.frequency * counts - p.presence


class WholeVocabulary(LogitsProcessor):
    """For vLLM's first model runner, which keeps the tokens of a response in a list on the host."""

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        Penalties.from_xargs(sampling_params.extra_args)

    def __init__(
        self, vllm_config: "VllmConfig", device: torch.device, is_pin_memory: bool
    ) -> None:
        self._vocabulary = _vocabulary(vllm_config, vllm_config.model_config.get_vocab_size())
        self._answers: dict[int, _Answer] = {}

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        process_dict_updates(self._answers, batch_update, self._answer)

    def _answer(
        self, params: SamplingParams, prompt: list[int] | None, tokens: list[int]
    ) -> _Answer | None:
        penalties = Penalties.from_xargs(params.extra_args)
        return None if penalties is None else _Answer(penalties, tokens, self._vocabulary)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """(requests, vocabulary) float32, changed in place."""
        for row, answer in self._answers.items():
            answer.penalize(logits[row])
        return logits


class WholeVocabularyV2(LogitsProcessorV2):
    """For vLLM's second model runner, which keeps tokens on the device and may run ahead of the
    host.

    State and word counts of each request slot live on the device and are advanced there by the
    token fed to the model in each step, without waiting for it. Only when a request is resumed
    after preemption are its tokens read back, once. Speculative decoding (several rows per request)
    is not supported.
    """

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        Penalties.from_xargs(sampling_params.extra_args)

    def __init__(self, vllm_config: "VllmConfig", req_states: LogitsProcRequestState) -> None:
        if vllm_config.speculative_config is not None:
            raise ValueError("The pinned decoding penalties do not support speculative decoding.")
        slots, size, device = req_states.max_num_reqs, req_states.vocab_size, req_states.device
        self._req_states = req_states
        self._vocabulary = _vocabulary(vllm_config, size)
        self._next_state = torch.from_numpy(self._vocabulary.next_state).to(device)
        self._is_word = torch.from_numpy(self._vocabulary.is_word).to(device)
        self._state = torch.full((slots,), OUTSIDE, dtype=torch.long, device=device)
        self._next_position = torch.zeros(slots, dtype=torch.long, device=device)
        self._counts = torch.zeros((slots, size), dtype=torch.int32, device=device)
        self._frequency = torch.zeros(slots, device=device)
        self._presence = torch.zeros(slots, device=device)
        self._repetition = torch.ones(slots, device=device)
        self._asked: dict[int, Penalties] = {}
        self._active = np.zeros(slots, dtype=bool)

    def add_request(self, req_idx: int, sampling_params: SamplingParams) -> bool:
        penalties = Penalties.from_xargs(sampling_params.extra_args)
        self._active[req_idx] = penalties is not None
        self._asked[req_idx] = penalties or Penalties()
        return penalties is not None

    def apply_staged_writes(self) -> None:
        for slot, penalties in self._asked.items():
            self._start(slot, penalties)
        self._asked.clear()

    def _start(self, slot: int, penalties: Penalties) -> None:
        prompt_len = int(self._req_states.prompt_len.np[slot])
        prefill_len = int(self._req_states.prefill_len.np[slot])
        segment = Segment(self._vocabulary)
        self._counts[slot] = 0
        if self._active[slot] and prefill_len > prompt_len:
            segment.read(self._req_states.all_token_ids.gpu[slot, prompt_len:prefill_len].tolist())
        for token, count in segment.counts.items():
            self._counts[slot, token] = count
        self._state[slot] = segment.state
        self._next_position[slot] = prefill_len
        self._frequency[slot] = penalties.frequency
        self._presence[slot] = penalties.presence
        self._repetition[slot] = penalties.repetition

    def apply(self, logits: torch.Tensor, ctx: LogitsContext) -> torch.Tensor:
        """(rows, vocabulary) float32, one row per request, changed in place."""
        if not self._active[ctx.idx_mapping_np].any():
            return logits
        slots, tokens = ctx.expanded_idx_mapping.long(), ctx.input_ids.long()
        before, counts = self._state[slots], self._counts[slots]
        # A row still reading its prompt (or, if resumed, its own old tokens) adds nothing new.
        new = ctx.pos.long() == self._next_position[slots]
        after = torch.where(new, self._next_state[tokens, before].long(), before)
        word = new & (before == IN_CONTENT) & (after == IN_CONTENT) & self._is_word[tokens]
        inside = (after == IN_CONTENT) | (after == IN_CONTENT_ESCAPE)
        counts.scatter_add_(1, tokens[:, None], word[:, None].int())
        counts *= inside[:, None]
        self._state[slots], self._counts[slots] = after, counts
        self._next_position[slots] += new
        repetition = self._repetition[slots, None]
        scaled = torch.where(logits > 0, logits / repetition, logits * repetition)
        scaled -= self._frequency[slots, None] * counts + self._presence[slots, None]
        return logits.copy_(torch.where(counts > 0, scaled, logits))
