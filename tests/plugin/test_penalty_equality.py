"""The penalties exactly equal those of an implementation with a count for every token.

That implementation is `tests/support/whole_vocabulary.py`, the oracle. Both runners process
recorded and generated answers, with rows of a batch that come and go as they do in vLLM.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from bench.penalty_traffic import Traffic
from tests.support.second_runner import CPU, SecondRunner
from tests.support.whole_vocabulary import WholeVocabulary, WholeVocabularyV2
from transformers import AutoTokenizer
from vllm.config import ModelConfig, VllmConfig
from vllm.sampling_params import SamplingParams
from vllm.v1.sample.logits_processor.state import LogitsProcessors
from vllm.v1.worker.gpu_input_batch import CachedRequestState, InputBatch

from vibevoice_core.penalties import PINNED, Penalties
from vibevoice_vllm.segment_penalty import SegmentPenalty, SegmentPenaltyV2
from vibevoice_vllm.slot_words import SlotWords
from vibevoice_vllm.word_tokens import MAX_WORDS, Segment, Vocabulary

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "tiny-asr"
ANSWERS: dict[str, list[int]] = json.loads((ROOT / "tests" / "data" / "answers.json").read_text())
SLOTS = 6
PROMPT = 40
"""Maximum number of tokens of a prompt."""
STEP = 256
"""Maximum number of prompt tokens read in a step."""
OTHER = Penalties(frequency=-0.3, presence=0.0, repetition=0.9)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """There are few rows: threads would spend longer waiting than computing."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL)


@pytest.fixture(scope="module")
def config() -> VllmConfig:
    return VllmConfig(model_config=ModelConfig(model=str(MODEL), dtype="float32"))


def generated(tokenizer, rng: np.random.Generator, segments: int) -> list[int]:
    """An answer with segments of up to 600 words, in which frequent words are repeated."""
    vocabulary = Vocabulary.from_tokenizer(tokenizer, len(tokenizer))
    words = rng.permutation(np.flatnonzero(vocabulary.is_word))
    answer = []
    for index in range(segments):
        answer += tokenizer(f'{{"Start":{index},"End":{index + 1},"Content":"').input_ids
        answer += words[rng.zipf(1.3, rng.integers(600)) % len(words)].tolist()
        answer += tokenizer('"},').input_ids
    return answer


@pytest.fixture(scope="module", params=["recorded", "generated"])
def answers(request: pytest.FixtureRequest, tokenizer) -> list[list[int]]:
    """Token ids of whole answers."""
    if request.param == "recorded":
        return list(ANSWERS.values())
    rng = np.random.default_rng(5)
    return [generated(tokenizer, rng, segments) for segments in (1, 2, 3, 4, 4, 5, 6)]


@dataclass
class Request:
    """A request to a simulated server."""

    prompt: list[int]
    answer: list[int]
    penalties: Penalties | None
    written: int = 0
    """Number of tokens of the answer so far."""
    computed: int = 0
    """Number of tokens of prompt and answer that the model has read."""
    output: list[int] = field(default_factory=list)

    @property
    def params(self) -> SamplingParams:
        xargs = None if self.penalties is None else self.penalties.as_xargs()
        return SamplingParams(temperature=0.0, extra_args=xargs)


def requests(answers: list[list[int]], rng: np.random.Generator) -> list[Request]:
    """One request per answer, and the first one again without penalties."""
    kinds = [PINNED, OTHER, PINNED, Penalties(frequency=2.0), PINNED, Penalties(repetition=2.0)]
    found = [
        Request(rng.integers(9, size=rng.integers(1, PROMPT)).tolist(), answer, kind)
        for answer, kind in zip(answers, kinds * 2, strict=False)
    ]
    return [*found, Request([1, 2, 3], answers[0], None)]


def random_logits(rows: int, size: int, rng: np.random.Generator) -> torch.Tensor:
    """Logits of both signs, some of them masked by a grammar."""
    logits = torch.from_numpy(rng.standard_normal((rows, size), dtype=np.float32) * 6)
    return logits.masked_fill_(torch.from_numpy(rng.random((rows, size)) < 0.05), -torch.inf)


def served(
    waiting: list[Request], rng: np.random.Generator
) -> Iterator[tuple[list[tuple[int, Request]], list[tuple[int, int, int]]]]:
    """The steps of a server with `SLOTS` slots until all requests are answered.

    Requests wait for a slot and read their prompts in parts. Some are preempted and read their
    prompt and answer again in another slot. The rows of a step are some of the slots in any order.

    Yields:
        Requests that were assigned to a slot, and rows: (slot, token fed, its position).
    """
    slots: dict[int, Request] = {}
    while waiting or slots:
        if slots and rng.random() < 0.01:
            preempted = slots.pop(int(rng.choice(list(slots))))
            preempted.computed = 0
            waiting.append(preempted)
        free = [int(slot) for slot in rng.permutation(SLOTS) if slot not in slots]
        added = [(slot, waiting.pop(0)) for slot in free[: len(waiting)]]
        slots |= dict(added)
        running = [slot for slot in slots if rng.random() < 0.9] or list(slots)
        rows = []
        for slot in rng.permutation(running).tolist():
            request = slots[slot]
            tokens = [*request.prompt, *request.answer[: request.written]]
            left = len(tokens) - request.computed
            request.computed += left if left < 2 else int(rng.integers(1, min(left, STEP) + 1))
            rows.append((slot, tokens[request.computed - 1], request.computed - 1))
            if request.computed == len(tokens):
                request.written += 1
                if request.written > len(request.answer):
                    del slots[slot]
        yield added, rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_second_runner_equals_the_oracle(
    dtype: torch.dtype, answers: list[list[int]], tokenizer, config: VllmConfig
) -> None:
    """All logits are bit-identical: rows reused and reordered, prompts in parts, requests
    resumed."""
    rng, size = np.random.default_rng(7), len(tokenizer)
    ours = SecondRunner(config, SLOTS, size)
    oracle = SecondRunner(config, SLOTS, size, WholeVocabularyV2)
    penalized = 0
    for added, rows in served(requests(answers, rng), rng):
        for slot, request in added:
            written = request.answer[: request.written]
            for runner in (ours, oracle):
                runner.add(slot, request.params, request.prompt, written)
        logits = random_logits(len(rows), size, rng).to(dtype)
        expected = oracle.apply(logits.clone(), rows)
        got = ours.apply(logits.clone(), rows)
        assert got.dtype == dtype
        assert torch.equal(got, expected)
        penalized += int((got != logits).sum())
    assert penalized > 300


def first_runner(
    size: int, kind: Callable[[], SegmentPenalty | WholeVocabulary]
) -> tuple[InputBatch, SegmentPenalty | WholeVocabulary]:
    """The first runner's own vLLM batch, with a processor that it keeps up to date."""
    processor = kind()
    batch = InputBatch(
        max_num_reqs=SLOTS,
        max_model_len=8192,
        max_num_batched_tokens=8192,
        device=CPU,
        vocab_size=size,
        block_sizes=[16],
        max_num_blocks_per_req=[512],
        logitsprocs=LogitsProcessors([processor]),
        logitsprocs_need_output_token_ids=True,
    )
    return batch, processor


def test_first_runner_equals_the_oracle(
    answers: list[list[int]], tokenizer, config: VllmConfig
) -> None:
    """All logits are bit-identical in vLLM's own batch, which swaps rows, moves them, and fills
    gaps."""
    rng, size = np.random.default_rng(8), len(tokenizer)
    pairs = [
        first_runner(size, partial(kind, config, CPU, False))
        for kind in (SegmentPenalty, WholeVocabulary)
    ]
    waiting = dict(enumerate(requests(answers, rng)))
    running: dict[int, Request] = {}
    penalized = 0
    while waiting or running:
        done = [key for key, request in running.items() if request.output == request.answer]
        preempted = [key for key in running if key not in done and rng.random() < 0.01]
        waiting |= {key: running[key] for key in preempted}
        for key in [*done, *preempted]:
            del running[key]
        added = list(waiting)[: SLOTS - len(running)]
        running |= {key: waiting.pop(key) for key in added}
        swap = rng.permutation(len(running))[:2].tolist() if rng.random() < 0.1 else []
        results = []
        logits = random_logits(len(running), size, rng)
        for batch, processor in pairs:
            for key in [*done, *preempted]:
                batch.remove_request(str(key))
            for key in added:
                batch.add_request(_state(key, running[key]))
            batch.condense()
            if len(swap) == 2:
                batch.swap_states(*swap)
            batch.refresh_metadata()
            results.append(processor.apply(logits.clone()))
        assert torch.equal(*results)
        penalized += int((results[0] != logits).sum())
        for request in running.values():
            request.output += request.answer[len(request.output) : len(request.output) + 1]
    assert penalized > 300


def _state(key: int, request: Request) -> CachedRequestState:
    return CachedRequestState(
        req_id=str(key),
        prompt_token_ids=request.prompt,
        mm_features=[],
        sampling_params=request.params,
        generator=None,
        block_ids=([],),
        num_computed_tokens=0,
        output_token_ids=request.output,
    )


def test_a_presence_penalty_is_taken_off_last(tokenizer, config: VllmConfig) -> None:
    """As in vLLM. The oracle's second runner added it to the frequency penalty first, so the last
    bit may differ by that rounding; the pinned values do not use it."""
    rng, size = np.random.default_rng(9), len(tokenizer)
    params = SamplingParams(extra_args=Penalties(0.3, 0.7, 1.1).as_xargs())
    answer = ANSWERS["60 segments, seed 900"]
    kinds = (SegmentPenaltyV2, WholeVocabularyV2)
    runners = [SecondRunner(config, 1, size, kind) for kind in kinds]
    for runner in runners:
        runner.add(0, params, [1])
    for position, token in enumerate([1, *answer]):
        logits = random_logits(1, size, rng)
        got, expected = (runner.apply(logits.clone(), [(0, token, position)]) for runner in runners)
        torch.testing.assert_close(got, expected, rtol=0, atol=2e-6)


def words_of(slots: SlotWords, slot: int, token: int, position: int) -> dict[int, int]:
    """Words of a slot after one more token, in the form of `Segment.counts`."""
    row = (torch.tensor([value]) for value in (slot, token, position))
    words, counts, some = slots.read(*row)
    return dict(zip(words[0].tolist(), counts[0].tolist(), strict=True)) if some else {}


def test_beyond_the_bound_the_oldest_word_gives_way() -> None:
    """The oldest word is replaced on the host and on the device, also in a resumed slot, until the
    segment ends."""
    texts = ['{"Content":"', '"},', *(f" w{n}" for n in range(2 * MAX_WORDS))]
    vocabulary = Vocabulary.from_texts(texts)
    first, last = 2, len(texts)
    rng = np.random.default_rng(10)
    more = rng.integers(first, last, 3000).tolist()
    answer = [0, *range(first, first + MAX_WORDS), first, last - 1, *more, 1, 0, first]
    segment, slots = Segment(vocabulary), SlotWords(vocabulary, 3, CPU)
    slots.start({2: (Segment(vocabulary), 0)})
    for position, token in enumerate(answer):
        segment.read([token])
        assert words_of(slots, 2, token, position) == segment.counts
        if position == MAX_WORDS + 1:
            assert segment.counts[first] == 2
        if position == MAX_WORDS + 2:
            assert len(segment.counts) == MAX_WORDS
            assert first not in segment.counts
            assert segment.counts[last - 1] == 1
        if position == 2000:
            slots.start({0: (segment, position + 1)})
        if position > 2000:
            assert words_of(slots, 0, token, position) == segment.counts
    assert segment.counts == {first: 1}


def test_a_loop_is_penalized_however_long_the_segment_is() -> None:
    """An answer that repeats three words after more words than are remembered."""
    texts = ['{"Content":"', *(f" w{n}" for n in range(2 * MAX_WORDS))]
    segment = Segment(Vocabulary.from_texts(texts))
    segment.read(range(MAX_WORDS + 50))
    segment.read([1, 2, 3] * 20)
    assert [segment.counts[word] for word in (1, 2, 3)] == [20, 20, 20]


@pytest.mark.parametrize("size", [152_064, 512_000])
def test_a_step_moves_words_and_not_vocabularies(size: int, config: VllmConfig) -> None:
    """Measured on a device without data, where reading a value back would fail: at 256 rows, each
    tensor of a step takes at most 524 kB, and a step moves at most 13 MB, whatever the
    vocabulary."""
    rows = 256
    runner = SecondRunner(config, rows, size, device=torch.device("meta"))
    for slot in range(rows):
        runner.add(slot, SamplingParams(extra_args=PINNED.as_xargs()), [1])
    logits = torch.empty((rows, size), device="meta")
    runner.processor.apply_staged_writes()
    with Traffic() as traffic:
        assert runner.apply(logits, [(slot, 1, 0) for slot in range(rows)]) is logits
    assert traffic.largest <= rows * MAX_WORDS * 8
    assert traffic.moved < 13e6
