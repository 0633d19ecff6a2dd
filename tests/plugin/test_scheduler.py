"""Long recordings are encoded window by window, and no other request waits for them."""

from collections.abc import Callable, Iterator

import pytest
import torch
from tests.support.engine import TINY
from vllm import SamplingParams
from vllm.engine.arg_utils import EngineArgs
from vllm.multimodal.inputs import MultiModalFeatureSpec, PlaceholderRange
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import (
    FullAttentionSpec,
    KVCacheConfig,
    KVCacheGroupSpec,
)
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output import StructuredOutputManager

from vibevoice_vllm.plugin import register
from vibevoice_vllm.scheduler import create_scheduler

WINDOW, PER_STEP, BLOCK = 225, 4, 16


@pytest.fixture
def per_step() -> int | None:
    """Number of windows that a step may encode; None keeps the default."""
    return PER_STEP


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def scheduler(
    request: pytest.FixtureRequest, per_step: int | None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scheduler]:
    """The plugin's scheduler as created by the engine, with room for four hours of audio."""
    register()
    monkeypatch.setenv("VIBEVOICE_WINDOWS_PER_STEP", str(per_step or ""))
    config = EngineArgs(
        model=str(TINY),
        dtype="float32",
        max_model_len=65536,
        max_num_batched_tokens=2048,
        max_num_seqs=16,
        enforce_eager=True,
        enable_prefix_caching=False,
        scheduler_cls="vibevoice_vllm.scheduler.create_scheduler",
    ).create_engine_config()
    config.scheduler_config.async_scheduling = request.param
    blocks = 4 * 27_450 // BLOCK
    config.cache_config.num_gpu_blocks = blocks
    spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=1, dtype=torch.float32)
    yield create_scheduler(
        vllm_config=config,
        kv_cache_config=KVCacheConfig(
            num_blocks=blocks,
            kv_cache_tensors=[],
            kv_cache_groups=[KVCacheGroupSpec(["a"], spec)],
        ),
        structured_output_manager=StructuredOutputManager(config),
        block_size=BLOCK,
        hash_block_size=BLOCK,
        log_stats=False,
    )


@pytest.fixture
def add(scheduler: Scheduler) -> Callable[..., Request]:
    """Adds a request with `windows` windows of audio between two tokens of text."""

    def add(name: str, windows: int, tokens: int = WINDOW) -> Request:
        features = [
            MultiModalFeatureSpec(
                data=None,
                modality="audio",
                identifier=f"{name}-{i}",
                mm_position=PlaceholderRange(offset=1 + i * tokens, length=tokens),
            )
            for i in range(windows)
        ]
        request = Request(
            request_id=name,
            prompt_token_ids=[1] * (2 + windows * tokens),
            sampling_params=SamplingParams(max_tokens=2000, ignore_eos=True),
            pooling_params=None,
            mm_features=features,
        )
        scheduler.add_request(request)
        return request

    return add


def step(scheduler: Scheduler) -> SchedulerOutput:
    """One step of the engine, in which every request whose prompt has been read gets a token."""
    output = scheduler.schedule()
    names = list(output.num_scheduled_tokens)
    tokens = [[7] if not scheduler.requests[n].is_prefill_chunk else [] for n in names]
    scheduler.update_from_output(
        output,
        ModelRunnerOutput(
            req_ids=names,
            req_id_to_index={name: i for i, name in enumerate(names)},
            sampled_token_ids=tokens,
        ),
    )
    return output


def test_it_is_vllms_scheduler_of_the_kind_configured(
    scheduler: Scheduler, request: pytest.FixtureRequest
) -> None:
    """With asynchronous scheduling, it is vLLM's asynchronous scheduler, and otherwise not."""
    asynchronous = scheduler.vllm_config.scheduler_config.async_scheduling
    assert isinstance(scheduler, AsyncScheduler) is asynchronous


def test_an_hour_is_encoded_a_window_a_step(
    scheduler: Scheduler, add: Callable[..., Request]
) -> None:
    """While an hour is encoded, another request gets a token in every step."""
    talk = add("talk", 0)
    step(scheduler)
    hour = add("hour", 120)
    before, steps = talk.num_output_tokens, 0
    while hour.num_output_tokens == 0:
        output = step(scheduler)
        steps += 1
        assert len(output.scheduled_encoder_inputs.get("hour", [])) <= 1
        assert talk.num_output_tokens == before + steps
        assert steps < 130
    assert steps >= 120


def test_requests_are_encoded_side_by_side(
    scheduler: Scheduler, add: Callable[..., Request]
) -> None:
    """A short recording does not wait for hours of audio before it."""
    for name in ("a", "b", "c"):
        add(name, 120)
    step(scheduler)
    short = add("short", 1)
    output = step(scheduler)
    assert {n: len(i) for n, i in output.scheduled_encoder_inputs.items()} == {
        "a": 1,
        "b": 1,
        "c": 1,
        "short": 1,
    }
    assert short.num_output_tokens == 1


def test_turns_are_taken(scheduler: Scheduler, add: Callable[..., Request]) -> None:
    """With more hour-long recordings than a step has windows, all make equal progress, and a short
    recording gets its turn as well."""
    hours = [add(f"hour{i}", 100) for i in range(6)]
    for _ in range(13):
        step(scheduler)
    read = [hour.num_computed_tokens for hour in hours]
    assert max(read) - min(read) <= WINDOW + 1
    short = add("short", 1)
    for _ in range(3):
        step(scheduler)
    assert short.num_output_tokens >= 1


def test_a_step_encodes_a_bounded_amount(scheduler: Scheduler, add: Callable[..., Request]) -> None:
    """No step encodes more than its windows, and all requests still finish."""
    requests = [add(f"r{i}", 3) for i in range(12)]
    steps = 0
    while any(request.num_output_tokens == 0 for request in requests):
        output = step(scheduler)
        assert sum(map(len, output.scheduled_encoder_inputs.values())) <= PER_STEP
        steps += 1
        assert steps < 40


@pytest.mark.parametrize("per_step", [None])
def test_a_step_encodes_one_window_by_default(
    scheduler: Scheduler, add: Callable[..., Request]
) -> None:
    """All other requests wait for it; long recordings take turns, and a short one is encoded
    soon."""
    hours = [add(f"hour{i}", 100) for i in range(3)]
    for _ in range(9):
        assert sum(map(len, step(scheduler).scheduled_encoder_inputs.values())) == 1
    read = [hour.num_computed_tokens for hour in hours]
    assert max(read) - min(read) <= WINDOW + 1
    short = add("short", 1)
    for _ in range(4):
        step(scheduler)
    assert short.num_output_tokens >= 1


def test_short_recordings_share_a_step(scheduler: Scheduler, add: Callable[..., Request]) -> None:
    """The budget counts audio, not requests: many short recordings are encoded in one step."""
    for i in range(12):
        add(f"r{i}", 1, tokens=20)
    assert len(step(scheduler).scheduled_encoder_inputs) == 12


def test_an_aborted_request_is_not_encoded_further(
    scheduler: Scheduler, add: Callable[..., Request]
) -> None:
    """If a caller disconnects, at most the window in progress is wasted."""
    add("gone", 120)
    add("stays", 120)
    step(scheduler)
    scheduler.finish_requests("gone", RequestStatus.FINISHED_ABORTED)
    for _ in range(3):
        assert list(step(scheduler).scheduled_encoder_inputs) == ["stays"]
