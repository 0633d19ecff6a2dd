"""Penalizes repeated words in the segment being written, for both of vLLM's model runners.

vLLM's own frequency and repetition penalties count every token of an answer (the latter also those
of the prompt). The JSON scaffold of a long transcript is therefore penalized more with every
segment, until the model can no longer write it. The processors here apply the same arithmetic
(vLLM's `vllm/model_executor/layers/utils.py`: repetition, then frequency, then presence) only to
the words of the open `Content` string. This breaks a loop inside a segment, but leaves the scaffold
and the words of earlier segments as the model predicted them.

A request enables it with three `vllm_xargs` (`SamplingParams.extra_args`), which the middleware
sets; other requests are not affected. An answer that is not the model's JSON has no `Content`
string and so gets no penalty. An assistant message that is to be continued has to end between two
segments. Only the logits of words that occur are read and written, at most `MAX_WORDS` per request.

`SegmentPenalty` is for vLLM's first runner (CPU, and GPU under VLLM_USE_V2_MODEL_RUNNER=0),
`SegmentPenaltyV2` for the second (GPU). Select one with `--logits-processors`, never through the
entry-point group: the second runner refuses to start if a processor of the first is installed
there, and the first runner hides sampled tokens from such processors.
"""

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch
from vllm.sampling_params import SamplingParams
from vllm.tokenizers.registry import cached_tokenizer_from_config
from vllm.utils.torch_utils import async_tensor_h2d
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
from vibevoice_vllm.slot_words import SlotWords
from vibevoice_vllm.word_tokens import Segment, Vocabulary

if TYPE_CHECKING:
    from vllm.config import VllmConfig


def _vocabulary(config: "VllmConfig", size: int) -> Vocabulary:
    return Vocabulary.from_tokenizer(cached_tokenizer_from_config(config.model_config), size)


def _penalized(
    logits: torch.Tensor,
    counts: torch.Tensor,
    repetition: torch.Tensor,
    frequency: torch.Tensor,
    presence: torch.Tensor,
) -> torch.Tensor:
    """Logits of words that occurred `counts` times; shapes broadcast to that of `logits`."""
    scaled = torch.where(logits > 0, logits / repetition, logits * repetition)
    return scaled - frequency * counts - presence


class _Answer:
    """One running request in the first runner."""

    def __init__(self, penalties: Penalties, tokens: list[int], vocabulary: Vocabulary) -> None:
        self.penalties = (penalties.repetition, penalties.frequency, penalties.presence)
        self._tokens = tokens
        self._read = 0
        self._segment = Segment(vocabulary)

    def counts(self) -> dict[int, int]:
        """Read the newest tokens, and return the count of each word in the open segment."""
        self._segment.read(self._tokens[self._read :])
        self._read = len(self._tokens)
        return self._segment.counts


class SegmentPenalty(LogitsProcessor):
    """For vLLM's first model runner, which keeps an answer's tokens in a list on the host."""

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
        """(requests, vocabulary) float32, modified in place."""
        counts = [answer.counts() for answer in self._answers.values()]
        sizes = [len(words) for words in counts]
        if (total := sum(sizes)) == 0:
            return logits
        index = np.empty((2, total), dtype=np.int64)
        index[0] = np.repeat(list(self._answers), sizes)
        index[1] = np.fromiter(chain.from_iterable(counts), np.int64, total)
        values = np.empty((4, total), dtype=np.float32)
        values[0] = np.fromiter(chain.from_iterable(c.values() for c in counts), np.int64, total)
        penalties = np.array([answer.penalties for answer in self._answers.values()])
        values[1:] = np.repeat(penalties, sizes, axis=0).T
        rows, words = async_tensor_h2d(index, logits.device)
        factors = async_tensor_h2d(values, logits.device)
        logits[rows, words] = _penalized(logits[rows, words], *factors)
        return logits


class SegmentPenaltyV2(LogitsProcessorV2):
    """For vLLM's second model runner, which keeps tokens on the device and may run ahead of the
    host.

    The state and words of each request slot are stored on the device. Each step updates them from
    the token fed to the model, without waiting for it. Tokens are only read back, once, when a
    request resumes after preemption. Speculative decoding (several rows per request) is not
    supported.
    """

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        Penalties.from_xargs(sampling_params.extra_args)

    def __init__(self, vllm_config: "VllmConfig", req_states: LogitsProcRequestState) -> None:
        if vllm_config.speculative_config is not None:
            raise ValueError("The pinned decoding penalties do not support speculative decoding.")
        slots, device = req_states.max_num_reqs, req_states.device
        self._req_states = req_states
        self._vocabulary = _vocabulary(vllm_config, req_states.vocab_size)
        self._words = SlotWords(self._vocabulary, slots, device)
        self._penalties = torch.zeros((slots, 3), device=device)
        """(slots, 3) float32: repetition, frequency, presence."""
        self._asked: dict[int, Penalties] = {}
        self._active = np.zeros(slots, dtype=bool)

    def add_request(self, req_idx: int, sampling_params: SamplingParams) -> bool:
        penalties = Penalties.from_xargs(sampling_params.extra_args)
        self._active[req_idx] = penalties is not None
        self._asked[req_idx] = penalties or Penalties()
        return penalties is not None

    def apply_staged_writes(self) -> None:
        if not self._asked:
            return
        values = [[p.repetition, p.frequency, p.presence] for p in self._asked.values()]
        device = self._req_states.device
        slots = async_tensor_h2d(list(self._asked), device, torch.long)
        self._penalties[slots] = async_tensor_h2d(values, device, torch.float32)
        self._words.start({slot: self._written(slot) for slot in self._asked})
        self._asked.clear()

    def _written(self, slot: int) -> tuple[Segment, int]:
        """The answer of the request in a slot so far, and the position after it."""
        prompt_len = int(self._req_states.prompt_len.np[slot])
        prefill_len = int(self._req_states.prefill_len.np[slot])
        segment = Segment(self._vocabulary)
        if self._active[slot] and prefill_len > prompt_len:
            segment.read(self._req_states.all_token_ids.gpu[slot, prompt_len:prefill_len].tolist())
        return segment, prefill_len

    def apply(self, logits: torch.Tensor, ctx: LogitsContext) -> torch.Tensor:
        """(rows, vocabulary) float32, one row per request, modified in place."""
        if not self._active[ctx.idx_mapping_np].any():
            return logits
        slots = ctx.expanded_idx_mapping.long()
        words, counts, some = self._words.read(slots, ctx.input_ids.long(), ctx.pos)
        chosen = logits.gather(1, words)
        penalties = self._penalties[slots, :, None].unbind(1)
        changed = torch.where(some, _penalized(chosen, counts, *penalties), chosen)
        return logits.scatter_(1, words, changed.to(logits.dtype))
