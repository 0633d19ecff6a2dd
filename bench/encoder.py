"""The audio encoders at their published size: this project's computation beside transformers'.

    python -m bench.encoder                  # operations and bytes, counted: no GPU, a few seconds
    python -m bench.encoder --seconds 5      # and times on this machine: 2 GB of memory

Counts are of one encoder and one call, a whole window with its context. Times are of pairs of runs
in turn, with random weights in float32.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tests.support.operations import Operations
from transformers import AutoModel
from transformers.models.vibevoice_acoustic_tokenizer import (
    VibeVoiceAcousticTokenizerEncoderConfig,
)

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_vllm.encoder import arranged, context_tokens, encode
from vibevoice_vllm.settings import PluginSettings

PUBLISHED = VibeVoiceAcousticTokenizerEncoderConfig()
"""The acoustic encoder's; the semantic one has a wider last layer."""


def reference(encoder: Any, audio: torch.Tensor) -> torch.Tensor:
    """transformers' own computation."""
    return encoder(audio[:, None]).latents


def build(device: str, dtype: torch.dtype) -> Any:
    """A true-size encoder."""
    with torch.device(device):
        return AutoModel.from_config(PUBLISHED, dtype=dtype).eval()


def count(rows: int) -> None:
    """Print what a call costs, by either computation and in either precision."""
    hop = PUBLISHED.hop_length
    tokens = PluginSettings().window_tokens(hop) + context_tokens(hop, PUBLISHED)
    seconds = rows * tokens * hop / SAMPLE_RATE
    print(f"{rows} rows of {tokens} tokens, {seconds:.1f} s:")
    for dtype in torch.float32, torch.bfloat16:
        for compute in reference, encode:
            encoder = build("meta", dtype)
            if compute is encode:
                arranged(encoder)
            audio = torch.empty(rows, tokens * hop, device="meta", dtype=dtype)
            with torch.inference_mode(), Operations() as operations:
                compute(encoder, audio)
            print(
                f"{str(dtype)[6:]:9} {compute.__name__:10} {operations.number:4} operations, "
                f"{operations.number / seconds:5.1f} and {operations.bytes / seconds / 1e9:.2f} GB "
                f"a second of audio, at most {operations.peak / 2**30:.2f} GiB at a time"
            )


def measure(seconds: float, pairs: int, rows: int) -> None:
    """Print how long either computation takes on this machine, run in turn."""
    torch.manual_seed(0)
    encoder = build("cpu", torch.float32)
    published = {name: weight.data for name, weight in encoder.named_parameters()}
    hop = PUBLISHED.hop_length
    audio = 0.1 * torch.randn(rows, round(seconds * SAMPLE_RATE / hop) * hop)
    times: dict[str, list[float]] = {reference.__name__: [], encode.__name__: []}

    def timed(compute: Callable[[Any, torch.Tensor], torch.Tensor]) -> None:
        started = time.perf_counter()
        compute(encoder, audio)
        times[compute.__name__].append(time.perf_counter() - started)

    with torch.inference_mode():
        for _ in range(pairs + 1):
            for name, weight in encoder.named_parameters():
                weight.data = published[name]
            timed(reference)
            arranged(encoder)
            timed(encode)
    before, after = (np.array(taken[1:]) for taken in times.values())
    print(
        f"{rows} rows of {seconds:g} s on {torch.get_num_threads()} threads: transformers "
        f"{np.median(before):.2f} s, encode {np.median(after):.2f} s, ratios "
        + " ".join(f"{ratio:.2f}" for ratio in before / after)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="The audio encoders' cost.")
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0, help="length of the timed audio")
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    count(options.rows)
    if options.seconds:
        measure(options.seconds, options.pairs, options.rows)


if __name__ == "__main__":
    main()
