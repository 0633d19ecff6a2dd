"""Chooses the audio windows that the engine encodes in each step (`--scheduler-cls`).

vLLM's own scheduler fills a step with as much audio as the token budget allows and assigns it to
the requests in order, so an hour-long recording would make all others wait. Here, a step encodes at
most `windows_per_step` windows' worth of audio in total, and at most one window's worth per
request. If more is waiting, requests whose last window is the longest ago come first. All requests
decode between two windows, and nothing more is encoded for a request that has ended.
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
        # Like vLLM's own budgets, these have room for at least one window, so any window fits.
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
        """Running requests whose audio is not encoded in this step.

        Requests whose last window (or arrival) is the longest ago come first; among equals, those
        that have computed the fewest tokens.
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
    """Number of tokens in the next window of a request; 0 if it has none left."""
    windows = request.mm_features
    done = bisect_right(
        windows,
        request.num_computed_tokens,
        key=lambda window: window.mm_position.offset + window.mm_position.length,
    )
    return windows[done].mm_position.length if done < len(windows) else 0


def create_scheduler(*, vllm_config: "VllmConfig", **kwargs: Any) -> Scheduler:
    """vLLM's scheduler, sync or async as the engine is configured, that encodes in windows."""
    asynchronous = vllm_config.scheduler_config.async_scheduling
    cls = _AsyncWindowScheduler if asynchronous else _WindowScheduler
    return cls(vllm_config=vllm_config, **kwargs)
