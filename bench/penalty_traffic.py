"""Measures the cost of a penalty step: bytes, operations, and time on this machine's CPU.

    python -m bench.penalty_traffic --rows 64 256

"whole" is the reference implementation of the tests, with a count for every vocabulary token;
"words" is `vibevoice_vllm.segment_penalty`. Bytes and operations of the second runner are counted
on the meta device, which stores no data. An operation is assumed to read its arguments and write
its result, except that indexing reads only the selected elements.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scripts.stack import ROOT
from tests.support.second_runner import CPU, SecondRunner
from tests.support.whole_vocabulary import WholeVocabulary, WholeVocabularyV2
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoTokenizer
from vllm.config import ModelConfig, VllmConfig
from vllm.sampling_params import SamplingParams
from vllm.v1.sample.logits_processor.interface import BatchUpdate

from vibevoice_core.penalties import PINNED
from vibevoice_vllm.segment_penalty import SegmentPenalty, SegmentPenaltyV2
from vibevoice_vllm.word_tokens import Vocabulary

FIRST = {"whole": WholeVocabulary, "words": SegmentPenalty}
SECOND = {"whole": WholeVocabularyV2, "words": SegmentPenaltyV2}
PARAMS = SamplingParams(temperature=0.0, extra_args=PINNED.as_xargs())
WRITTEN = 60
"""Number of words that every row's segment has when timing starts."""
WARM_UP, STEPS = 3, 20


class Traffic(TorchDispatchMode):
    """Counts the bytes and operations inside a block."""

    def __init__(self) -> None:
        super().__init__()
        self.moved = 0
        """Bytes read and written."""
        self.operations = 0
        self.largest = 0
        """Bytes of the largest tensor produced by an operation."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.is_view:
            return result
        name = func.overloadpacket.__name__
        read = sum(_bytes(arg) for arg in tree_leaves((args, kwargs)))
        written = _bytes(result) if isinstance(result, torch.Tensor) else sum(map(_bytes, result))
        if name in ("index", "gather"):
            read += written - _bytes(args[0])
        elif name in ("index_put_", "scatter_", "scatter_add_"):
            read -= _bytes(args[0])
            written = _bytes(args[-1])
            read += written if name == "scatter_add_" else 0
        elif name in ("copy_", "fill_"):
            read -= _bytes(args[0])
        self.operations += 1
        self.moved += read + written
        if not name.endswith("_"):
            self.largest = max(self.largest, written)
        return result


def _bytes(value: Any) -> int:
    return value.nbytes if isinstance(value, torch.Tensor) else 0


def traffic(name: str, config: VllmConfig, rows: int, size: int) -> Traffic:
    """Count a step of the second runner."""
    runner = SecondRunner(config, rows, size, SECOND[name], torch.device("meta"))
    for slot in range(rows):
        runner.add(slot, PARAMS, [1])
    runner.processor.apply_staged_writes()
    logits = torch.empty((rows, size), device="meta")
    context = runner.context([(slot, 1, 0) for slot in range(rows)])
    with Traffic() as counted:
        runner.processor.apply(logits, context)
    return counted


def second_runner(
    name: str, config: VllmConfig, rows: int, size: int, answer: list[int]
) -> Callable[[int], object]:
    """A function that runs a given step of the second runner on the CPU, after `answer` in each
    row."""
    runner = SecondRunner(config, rows, size, SECOND[name])
    for slot in range(rows):
        runner.add(slot, PARAMS, [1], answer)
    runner.processor.apply_staged_writes()
    logits = torch.zeros((rows, size))
    contexts = [
        runner.context([(slot, answer[-1 - step], 1 + len(answer) + step) for slot in range(rows)])
        for step in range(WARM_UP + STEPS)
    ]
    return lambda step: runner.processor.apply(logits, contexts[step])


def first_runner(
    name: str, config: VllmConfig, rows: int, size: int, answer: list[int]
) -> Callable[[int], object]:
    """The same for the first runner."""
    processor = FIRST[name](config, CPU, False)
    answers = [list(answer) for _ in range(rows)]
    added = [(row, PARAMS, None, tokens) for row, tokens in enumerate(answers)]
    processor.update_state(BatchUpdate(rows, [], added, []))
    logits = torch.zeros((rows, size))

    def step(number: int) -> object:
        for tokens in answers:
            tokens.append(answer[-1 - number])
        return processor.apply(logits)

    return step


def milliseconds(step: Callable[[int], object]) -> float:
    """The median processor time of `STEPS` steps, in one thread."""
    times = []
    for number in range(WARM_UP + STEPS):
        start = time.thread_time()
        step(number)
        times.append(time.thread_time() - start)
    return 1000 * statistics.median(times[WARM_UP:])


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the cost of a penalty step.")
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--vocabulary", type=int, default=152_064)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = ModelConfig(model=str(ROOT / "models" / "tiny-asr"), dtype="float32")
    config, size = VllmConfig(model_config=model), args.vocabulary
    tokenizer = AutoTokenizer.from_pretrained(model.model)
    words = np.flatnonzero(Vocabulary.from_tokenizer(tokenizer, size).is_word)[:WRITTEN].tolist()
    answer = [*tokenizer.encode('[{"Content":"'), *words]
    for rows in args.rows:
        for name in ("whole", "words"):
            counted = traffic(name, config, rows, size)
            second = milliseconds(second_runner(name, config, rows, size, answer))
            first = milliseconds(first_runner(name, config, rows, size, answer))
            print(
                f"{rows} rows, {name}: second runner {counted.operations} operations, "
                f"{counted.moved / 1e6:.2f} MB moved, largest tensor "
                f"{counted.largest / 1e6:.3f} MB, {second:.2f} ms; first runner {first:.2f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
