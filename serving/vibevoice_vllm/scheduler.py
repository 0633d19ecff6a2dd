"""Which pieces of audio the engine encodes in a step (`--scheduler-cls`).

vLLM's own scheduler fills a step with as much audio as fits the token budget and gives it to the
requests in order, so that an hour-long recording would keep all others waiting. Here a step
encodes at most `pieces_per_step` pieces' worth of audio, and at most one piece's worth of any
request; where more is wanted, those come first that have waited longest for their last piece.
Between two pieces everybody decodes, and a request that is gone is not encoded further.
"""

from bisect import bisect_right
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler

from vibevoice_vllm.audio import RATE
from vibevoice_vllm.config import PluginSettings

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.request import Request


class _Pieces(Scheduler):
    def __init__(self, vllm_config: "VllmConfig", *args: Any, **kwargs: Any) -> None:
        super().__init__(vllm_config, *args, **kwargs)
        settings = PluginSettings()
        hop = vllm_config.model_config.hf_config.acoustic_tokenizer_encoder_config.hop_length
        # vLLM's own budgets hold one piece at least, and so do these: no piece waits for ever.
        self._piece = settings.piece_tokens(hop, RATE)
        self.max_num_encoder_input_tokens = min(
            self.max_num_encoder_input_tokens, settings.pieces_per_step * self._piece
        )
        self._step = 0
        self._last: WeakKeyDictionary[Request, int] = WeakKeyDictionary()
        self._waits_its_turn: set[str] = set()

    def schedule(self, *args: Any, **kwargs: Any) -> SchedulerOutput:
        self._step += 1
        self._waits_its_turn = self._not_next()
        return super().schedule(*args, **kwargs)

    def _not_next(self) -> set[str]:
        """Running requests that leave this step's audio to others.

        First come those whose last piece (or arrival) is longest ago, of these who has read least.
        """
        wanted = {request: _next_piece(request) for request in self.running}
        left = self.max_num_encoder_input_tokens
        not_next = set()
        for request in sorted(
            (request for request, tokens in wanted.items() if tokens),
            key=lambda r: (self._last.setdefault(r, self._step), r.num_computed_tokens),
        ):
            left -= wanted[request]
            if left < 0:
                not_next.add(request.request_id)
        return not_next

    def _try_schedule_encoder_inputs(
        self,
        request: "Request",
        num_computed_tokens: int,
        num_new_tokens: int,
        encoder_compute_budget: int,
        shift_computed_tokens: int = 0,
    ) -> tuple[list[int], int, int, list[int], list[int]]:
        waits = request.request_id in self._waits_its_turn
        budget = 0 if waits else min(encoder_compute_budget, self._piece)
        inputs, tokens, left, external, duplicates = super()._try_schedule_encoder_inputs(
            request, num_computed_tokens, num_new_tokens, budget, shift_computed_tokens
        )
        if inputs or request not in self._last:
            self._last[request] = self._step
        return inputs, tokens, encoder_compute_budget - (budget - left), external, duplicates


class _AsyncPieces(_Pieces, AsyncScheduler):
    pass


def _next_piece(request: "Request") -> int:
    """Tokens of the next piece that a request has to read, 0 if it has none."""
    pieces = request.mm_features
    done = bisect_right(
        pieces,
        request.num_computed_tokens,
        key=lambda piece: piece.mm_position.offset + piece.mm_position.length,
    )
    return pieces[done].mm_position.length if done < len(pieces) else 0


def create_scheduler(*, vllm_config: "VllmConfig", **kwargs: Any) -> Scheduler:
    """vLLM's scheduler, synchronous or not as the engine is configured, encoding in pieces."""
    cls = _AsyncPieces if vllm_config.scheduler_config.async_scheduling else _Pieces
    return cls(vllm_config=vllm_config, **kwargs)
