"""Penalties on the words of the segment being written, in both of vLLM's interfaces."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.second_runner import CPU, SecondRunner
from transformers import AutoTokenizer
from vllm.config import ModelConfig, VllmConfig
from vllm.model_executor.layers.utils import apply_penalties
from vllm.sampling_params import SamplingParams
from vllm.v1.sample.logits_processor.interface import BatchUpdate, MoveDirectionality

from vibevoice_core.penalties import PINNED, Penalties
from vibevoice_vllm.segment_penalty import SegmentPenalty, SegmentPenaltyV2
from vibevoice_vllm.word_tokens import IN_CONTENT, Segment, Vocabulary

MODEL = Path(__file__).parents[2] / "models" / "tiny-asr"
PINNED_PARAMS = SamplingParams(temperature=0.0, extra_args=PINNED.as_xargs())
MARGIN = 20.0
"""How much the scripted model prefers its next token over noise; a large value for a real model."""


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL)


@pytest.fixture(scope="module")
def config() -> VllmConfig:
    return VllmConfig(model_config=ModelConfig(model=str(MODEL), dtype="float32"))


@pytest.fixture(scope="module")
def vocabulary(tokenizer) -> Vocabulary:
    return Vocabulary.from_tokenizer(tokenizer, len(tokenizer))


def transcript(segments: int, words: int = 8) -> str:
    """An answer with `segments` segments, in the model's own format."""
    rng = np.random.default_rng(0)
    digits = "zero one two three four five six seven eight nine".split()
    return json.dumps(
        [
            {
                "Start": round(3.1 * i, 1),
                "End": round(3.1 * i + 2.9, 1),
                "Speaker": int(rng.integers(3)),
                "Content": " ".join(rng.choice(digits, words)),
            }
            for i in range(segments)
        ],
        separators=(",", ":"),
    )


def written(
    script: Sequence[int], size: int, penalize: Callable[[torch.Tensor, list[int]], None]
) -> list[int]:
    """The greedy answer of a model that prefers `script` by MARGIN over noise below 1."""
    rng = torch.Generator().manual_seed(0)
    answer: list[int] = []
    for token in script:
        logits = torch.rand(size, generator=rng)
        logits[token] += MARGIN
        penalize(logits, answer)
        answer.append(int(logits.argmax()))
    return answer


def ours(processor: SegmentPenalty) -> Callable[[torch.Tensor, list[int]], None]:
    """Penalizes as vLLM's first runner does for one request."""
    seen: list[list[int]] = []

    def penalize(logits: torch.Tensor, answer: list[int]) -> None:
        if not seen:
            seen.append(answer)
            added = [(0, PINNED_PARAMS, None, answer)]
            processor.update_state(BatchUpdate(1, removed=[], added=added, moved=[]))
        processor.apply(logits[None])

    return penalize


def plain(frequency: float) -> Callable[[torch.Tensor, list[int]], None]:
    """Penalizes with vLLM's own operation, as for a request with `frequency_penalty`."""

    def penalize(logits: torch.Tensor, answer: list[int]) -> None:
        size = logits.shape[0]
        prompt = torch.full((1, 1), size)
        output = torch.tensor([answer or [size]])
        values = (torch.zeros(1), torch.tensor([frequency]), torch.ones(1))
        logits.copy_(apply_penalties(logits[None].clone(), prompt, output, *values)[0])

    return penalize


@pytest.mark.parametrize(
    ("text", "counts", "inside"),
    [
        pytest.param('[{"Content":"a b a', {"a": 2, "b": 1}, True, id="open"),
        pytest.param('[{"Content":"a b"', {}, False, id="closed"),
        pytest.param('[{"Content":"a"},{"Content" : "b', {"b": 1}, True, id="next-segment"),
        pytest.param('[{"Start":1,"Content', {}, False, id="key-being-written"),
        pytest.param('[{"Contents":"a', {}, False, id="longer-key"),
        pytest.param('[{"content":"a', {}, False, id="other-key"),
        pytest.param('[{"A":"Content","B":"a', {}, False, id="value-that-reads-content"),
        pytest.param('[{"Content":"a \\"b\\" a', {"a": 2, "b": 1}, True, id="escaped-quote"),
        pytest.param('[{"Content":"a\\\\","B":"c', {}, False, id="escaped-backslash"),
        pytest.param('[{"A":"\\"Content\\":\\"a', {}, False, id="json-inside-a-string"),
        pytest.param("plain text a a", {}, False, id="no-json"),
        pytest.param('assistant\n[{"Content":"a', {"a": 1}, True, id="prefix"),
        pytest.param('[{"Content":"é 的 的 .,!', {"é": 1, "的": 2}, True, id="any-script"),
    ],
)
def test_words_of_the_open_segment(text: str, counts: dict[str, int], inside: bool) -> None:
    """Only letters and digits inside the open Content string are words."""
    alphabet = sorted(set(text))
    vocabulary = Vocabulary.from_texts(alphabet)
    segment = Segment(vocabulary)
    segment.read(alphabet.index(c) for c in text)
    assert {alphabet[t]: n for t, n in segment.counts.items()} == counts
    assert (segment.state == IN_CONTENT) is inside


def test_any_tokenization_follows_the_same_string(tokenizer, vocabulary: Vocabulary) -> None:
    """A token of several characters leads to the same state as its characters."""
    text = transcript(5).replace("nine", 'ni\\"ne\\\\')
    single = Vocabulary.from_texts([chr(i) for i in range(256)])
    by_token, by_character = Segment(vocabulary), Segment(single)
    for token in tokenizer(text).input_ids:
        by_token.read([token])
        by_character.read(ord(c) for c in tokenizer.decode([token]))
        assert by_token.state == by_character.state


def test_special_and_broken_tokens_are_not_words(tokenizer, vocabulary: Vocabulary) -> None:
    """Special tokens, JSON characters, and partial characters are never penalized."""
    words = {tokenizer.decode([int(t)]) for t in np.flatnonzero(vocabulary.is_word)}
    assert "zero" in words
    assert not any(c in word for word in words for c in '"\\\ufffd')
    assert not any(word.startswith("<|") and word.endswith("|>") for word in words)


@pytest.mark.parametrize("kind", ["bpe", "bytes"])
def test_plain_penalty_breaks_a_long_transcript_and_ours_does_not(
    kind: str, tokenizer, config: VllmConfig
) -> None:
    """In sixty segments, frequency_penalty 0.5 breaks the JSON; with our penalty, every character
    is written."""
    text = transcript(60)
    processor = SegmentPenalty(config, CPU, False)
    if kind == "bpe":
        script, size = tokenizer(text).input_ids, len(tokenizer)
        decode = tokenizer.decode
    else:
        script, size = list(text.encode()), 256
        processor._vocabulary = Vocabulary.from_texts([chr(i) for i in range(256)])
        decode = lambda tokens: bytes(tokens).decode("latin-1")  # noqa: E731
    assert decode(written(script, size, ours(processor))) == text
    broken = decode(written(script, size, plain(0.5)))
    with pytest.raises(json.JSONDecodeError):
        json.loads(broken)


def test_a_loop_inside_a_segment_is_broken(tokenizer, config: VllmConfig) -> None:
    """A model that always prefers the same word ends the string once its penalty is high enough."""
    head = tokenizer('[{"Start":0.0,"End":9.0,"Speaker":0,"Content":"zero').input_ids
    word, end = tokenizer(" zero").input_ids[0], tokenizer('"}').input_ids[0]
    processor, answer = SegmentPenalty(config, CPU, False), list(head)
    added = [(0, PINNED_PARAMS, None, answer)]
    processor.update_state(BatchUpdate(1, removed=[], added=added, moved=[]))
    while answer[-1] != end and len(answer) < 200:
        logits = torch.zeros(1, len(tokenizer))
        logits[0, word], logits[0, end] = 12.0, 6.0
        answer.append(int(processor.apply(logits)[0].argmax()))
    assert tokenizer.decode(answer[len(head) :]) == " zero" * 10 + '"}'


def test_values_are_those_of_vllm(tokenizer, config: VllmConfig) -> None:
    """In a segment, words get exactly the penalty of vLLM's operation; other tokens get none."""
    opened = tokenizer('[{"Content":"').input_ids
    answer = [*opened, *tokenizer("zero nine zero four zero").input_ids]
    params = SamplingParams(
        extra_args=Penalties(frequency=0.5, presence=0.25, repetition=1.1).as_xargs()
    )
    processor = SegmentPenalty(config, CPU, False)
    processor.update_state(BatchUpdate(1, [], [(0, params, None, answer)], []))
    logits = torch.randn(1, len(tokenizer), generator=torch.Generator().manual_seed(1))
    words = torch.tensor([answer[len(opened) :]])
    values = (torch.tensor([0.25]), torch.tensor([0.5]), torch.tensor([1.1]))
    prompt = torch.full((1, 1), len(tokenizer))
    expected = apply_penalties(logits.clone(), prompt, words, *values)
    torch.testing.assert_close(processor.apply(logits.clone()), expected)


def test_requests_keep_their_own_state_when_the_batch_changes(
    tokenizer, config: VllmConfig
) -> None:
    """Rows that are swapped, moved, removed, or unmarked get the penalties of their content, or
    none."""
    answers = [tokenizer(f'[{{"Content":"{w} {w}').input_ids for w in ("zero", "nine")]
    processor = SegmentPenalty(config, CPU, False)
    unmarked = (2, SamplingParams(), None, answers[0])
    added = [(i, PINNED_PARAMS, None, a) for i, a in enumerate(answers)]
    processor.update_state(BatchUpdate(3, [], [*added, unmarked], []))

    def changed() -> list[set[str]]:
        rows = processor.apply(torch.ones(3, len(tokenizer)))
        return [{tokenizer.decode([int(t)]).strip() for t in (row < 1).nonzero()} for row in rows]

    assert changed() == [{"zero"}, {"nine"}, set()]
    processor.update_state(BatchUpdate(3, [], [], [(0, 1, MoveDirectionality.SWAP)]))
    assert changed() == [{"nine"}, {"zero"}, set()]
    processor.update_state(BatchUpdate(2, [0], [], [(1, 0, MoveDirectionality.UNIDIRECTIONAL)]))
    assert changed() == [{"zero"}, set(), set()]


def steps(prompt: list[int], answer: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(token fed, position) of each step that samples the next token of `answer`."""
    yield prompt[-1], len(prompt) - 1
    for index, token in enumerate(answer):
        yield token, len(prompt) + index


def test_both_interfaces_give_the_same_logits(tokenizer, config: VllmConfig) -> None:
    """Checked at every step over ten segments, with two requests out of step, in reversed rows."""
    scripts = [tokenizer(transcript(10, words)).input_ids for words in (4, 9)]
    prompts, size = [[1, 2, 3], [4]], len(tokenizer)
    first = SegmentPenalty(config, CPU, False)
    answers: list[list[int]] = [[], []]
    added = [(i, PINNED_PARAMS, None, answers[i]) for i in range(2)]
    first.update_state(BatchUpdate(2, [], added, []))
    second = SecondRunner(config, 4, size)
    assert second.add(3, PINNED_PARAMS, prompts[0])
    assert second.add(0, PINNED_PARAMS, prompts[1])
    rng = torch.Generator().manual_seed(2)
    for a, b in zip(steps(prompts[0], scripts[0]), steps(prompts[1], scripts[1]), strict=False):
        logits = torch.randn(2, size, generator=rng) * 5
        expected = first.apply(logits.clone())
        got = second.apply(logits.flip(0).clone(), [(0, *b), (3, *a)])
        torch.testing.assert_close(got.flip(0), expected, rtol=0, atol=0)
        for answer, script in zip(answers, scripts, strict=True):
            answer += script[len(answer) : len(answer) + 1]


@pytest.mark.parametrize("kept", [20, 40, 60])
def test_second_runner_resumes_after_preemption(kept: int, tokenizer, config: VllmConfig) -> None:
    """A request put back into a slot with part of its answer continues as if never interrupted."""
    script, prompt, size = tokenizer(transcript(4)).input_ids, [1, 2], len(tokenizer)
    undisturbed, resumed = (SecondRunner(config, 1, size) for _ in range(2))
    undisturbed.add(0, PINNED_PARAMS, prompt)
    resumed.add(0, PINNED_PARAMS, [7] * 9)
    resumed.apply(torch.ones(1, size), [(0, 7, 8)])
    resumed.add(0, PINNED_PARAMS, prompt, script[:kept])
    # Its old tokens are fed again in two parts; what their rows sample is ignored.
    resumed.apply(torch.ones(1, size), [(0, script[4], len(prompt) + 4)])
    for token, position in steps(prompt, script):
        expected = undisturbed.apply(torch.ones(1, size), [(0, token, position)])
        if position >= len(prompt) + kept - 1:
            got = resumed.apply(torch.ones(1, size), [(0, token, position)])
            torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_second_runner_leaves_unmarked_requests_alone(tokenizer, config: VllmConfig) -> None:
    """A request without our arguments keeps its logits, next to one with them and in its old
    slot."""
    opened, size = tokenizer('[{"Content":"zero').input_ids, len(tokenizer)
    runner = SecondRunner(config, 2, size)
    assert runner.add(0, PINNED_PARAMS, [1], opened)
    assert not runner.add(1, SamplingParams(), [1], opened)
    rows = [(slot, opened[-1], len(opened)) for slot in (0, 1)]
    marked, unmarked = runner.apply(torch.ones(2, size), rows)
    assert (marked < 1).sum() == 1
    assert (unmarked == 1).all()
    assert not runner.add(0, SamplingParams(), [1], opened)
    assert (runner.apply(torch.ones(2, size), rows) == 1).all()


def test_masked_tokens_stay_masked(tokenizer, config: VllmConfig) -> None:
    """A token masked by a grammar (-inf) is still masked after the penalties."""
    opened, size = tokenizer('[{"Content":"zero').input_ids, len(tokenizer)
    runner = SecondRunner(config, 1, size)
    runner.add(0, PINNED_PARAMS, [1], opened)
    logits = torch.full((1, size), -torch.inf)
    logits[0, 5] = 1.0
    got = runner.apply(logits.clone(), [(0, opened[-1], len(opened))])
    assert torch.equal(got, logits)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("frequency", 2.5, id="too-large"),
        pytest.param("presence", float("nan"), id="nan"),
        pytest.param("repetition", 0, id="zero"),
        pytest.param("repetition", "1.1", id="text"),
        pytest.param("frequency", [0.5], id="list"),
    ],
)
def test_bad_values_are_refused_at_admission(name: str, value: object) -> None:
    """Both classes name the argument and its range; vLLM returns this as a 400."""
    params = SamplingParams(extra_args={f"vibevoice_{name}_penalty": value})
    for processor in (SegmentPenalty, SegmentPenaltyV2):
        with pytest.raises(ValueError, match=f"vibevoice_{name}_penalty must be a number"):
            processor.validate_params(params)
