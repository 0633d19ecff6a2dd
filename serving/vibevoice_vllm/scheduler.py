"""Which windows of audio the engine encodes in a step (`--scheduler-cls`).

vLLM's own scheduler fills a step with as much audio as fits the token budget and gives it to the
requests in order, so that an hour-long recording would keep all others waiting. Here a step
encodes at most `windows_per_step` windows' worth of audio, and at most one window's worth of any
request; where more is wanted, those come first that have waited longest for their last window.
Between two windows all requests decode, and a request that is gone is not encoded further.
"""

from bisect import bisect_right
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler

from vibevoice_vllm.settings import PluginSettings

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.request import Request


class _WindowScheduler(Scheduler):
    def __init__(self, vllm_config: "VllmConfig", *args: Any, **kwargs: Any) -> None:
        super().__init__(vllm_config, *args, **kwargs)
        settings = PluginSettings()
        hop = vllm_config.model_config.hf_config.acoustic_tokenizer_encoder_config.hop_length
        # vLLM's own budgets hold one window at least, and so do these: any window fits into them.
        self._window = settings.window_tokens(hop)
        self.max_num_encoder_input_tokens = min(
            self.max_num_encoder_input_tokens, settings.windows_per_step * self._window
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

        First come those whose last window (or arrival) is longest ago, among them those read least.
        """
        wanted = {request: _next_window(request) for request in self.running}
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
        budget = 0 if waits else min(encoder_compute_budget, self._window)
        inputs, tokens, left, external, duplicates = super()._try_schedule_encoder_inputs(
            request, num_computed_tokens, num_new_tokens, budget, shift_computed_tokens
        )
        if inputs or request not in self._last:
            self._last[request] = self._step
        return inputs, tokens, encoder_compute_budget - (budget - left), external, duplicates


class _AsyncWindowScheduler(_WindowScheduler, AsyncScheduler):
    pass


def _next_window(request: "Request") -> int:
    """Tokens of the next window that a request has to read, 0 if it has none."""
    windows = request.mm_features
    done = bisect_right(
        windows,
        request.num_computed_tokens,
        key=lambda window: window.mm_position.offset + window.mm_position.length,
    )
    return windows[done].mm_position.length if done < len(windows) else 0


def create_scheduler(*, vllm_config: "VllmConfig", **kwargs: Any) -> Scheduler:
    """vLLM's scheduler, synchronous or not as the engine is configured, encoding in windows."""
    asynchronous = vllm_config.scheduler_config.async_scheduling
    cls = _AsyncWindowScheduler if asynchronous else _WindowScheduler
    return cls(vllm_config=vllm_config, **kwargs)
