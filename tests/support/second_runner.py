"""Emulates vLLM's second runner for a logits processor, with plain tensors as buffers.

Its own buffers (`RequestState`) need pinned memory and Triton, so they cannot be created on a CPU.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import torch
from vllm.config import VllmConfig
from vllm.sampling_params import SamplingParams
from vllm.v1.worker.gpu.sample.logits_processor import (
    LogitsContext,
    LogitsProcessor,
    LogitsProcRequestState,
)

from vibevoice_vllm.segment_penalty import SegmentPenaltyV2

CPU = torch.device("cpu")


class SecondRunner:
    """Holds requests in slots, and runs steps over some of them."""

    def __init__(
        self,
        config: VllmConfig,
        slots: int,
        size: int,
        kind: Callable[[VllmConfig, LogitsProcRequestState], LogitsProcessor] = SegmentPenaltyV2,
        device: torch.device = CPU,
    ) -> None:
        self._device = device
        self.tokens = torch.zeros(slots, 4096, dtype=torch.int32, device=device)
        self.prompt_len = np.zeros(slots, dtype=np.int32)
        self.prefill_len = np.zeros(slots, dtype=np.int32)
        states = LogitsProcRequestState(
            device=device,
            max_num_reqs=slots,
            vocab_size=size,
            all_token_ids=SimpleNamespace(gpu=self.tokens),  # type: ignore[arg-type]
            prompt_len=SimpleNamespace(np=self.prompt_len),  # type: ignore[arg-type]
            prefill_len=SimpleNamespace(np=self.prefill_len),  # type: ignore[arg-type]
            total_len=SimpleNamespace(),  # type: ignore[arg-type]
        )
        self.processor = kind(config, states)

    def add(
        self, slot: int, params: SamplingParams, prompt: list[int], answer: Sequence[int] = ()
    ) -> bool:
        fed = [*prompt, *answer]
        self.tokens[slot, : len(fed)] = torch.tensor(fed)
        self.prompt_len[slot], self.prefill_len[slot] = len(prompt), len(fed)
        return self.processor.add_request(slot, params)

    def apply(self, logits: torch.Tensor, rows: list[tuple[int, int, int]]) -> torch.Tensor:
        """Run one step; rows are (slot, input token, its position)."""
        self.processor.apply_staged_writes()
        return self.processor.apply(logits, self.context(rows))

    def context(self, rows: list[tuple[int, int, int]]) -> LogitsContext:
        """The context that vLLM provides for a step."""
        table = np.array(rows)
        slots, tokens, positions = torch.from_numpy(table).to(self._device).unbind(1)
        return LogitsContext(
            expanded_idx_mapping=slots.int(),
            idx_mapping=slots.int(),
            idx_mapping_np=table[:, 0],
            expanded_local_pos=torch.zeros_like(slots),
            input_ids=tokens.int(),
            pos=positions,
            seq_lens_upper_bound_np=table[:, 2] + 1,
        )
