"""Compares this project's computation of the audio encoders, at published size, with transformers'.

    python -m bench.encoder                  # count operations and bytes: no GPU, a few seconds
    python -m bench.encoder --seconds 4      # also measure times on this machine: 2 GB of memory
    python -m bench.encoder --seconds 37.73 --device cuda --dtype bfloat16

Counts are for one encoder and one call: a whole window with its context. Times are for alternating
pairs of runs with random weights, then for the depthwise convolutions alone, with channels last as
here and time last as in transformers, which depends on the underlying library.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tests.support.operations import Operations
from torch import nn
from transformers import AutoModel
from transformers.models.vibevoice_acoustic_tokenizer import (
    VibeVoiceAcousticTokenizerEncoderConfig,
)

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_vllm.encoder import arranged, context_tokens, encode
from vibevoice_vllm.settings import PluginSettings

PUBLISHED = VibeVoiceAcousticTokenizerEncoderConfig()
"""Config of the acoustic encoder; the semantic encoder has a wider last layer."""


def reference(encoder: Any, audio: torch.Tensor) -> torch.Tensor:
    """transformers' own computation."""
    return encoder(audio[:, None]).latents


def build(device: str, dtype: torch.dtype) -> Any:
    """Build an encoder of the published size."""
    with torch.device(device):
        return AutoModel.from_config(PUBLISHED, dtype=dtype).eval()


def count(rows: int) -> None:
    """Print the cost of a call, for both computations and both precisions."""
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
                f"per second of audio, at most {operations.peak / 2**30:.2f} GiB at a time"
            )


def timed(compute: Callable[..., torch.Tensor], *given: Any) -> float:
    """Time a call, in seconds."""
    started = time.perf_counter()
    if compute(*given).device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - started


def measure(audio: torch.Tensor, pairs: int) -> None:
    """Print how long both computations take on this machine, run alternately."""
    encoder = build(audio.device.type, audio.dtype)
    published = {name: weight.data for name, weight in encoder.named_parameters()}
    times = []
    for _ in range(pairs + 1):
        for name, weight in encoder.named_parameters():
            weight.data = published[name]
        times.append((timed(reference, encoder, audio), timed(encode, arranged(encoder), audio)))
    before, after = np.array(times[1:]).T
    print(
        f"{len(audio)} rows of {audio.shape[1] / SAMPLE_RATE:.1f} s: transformers "
        f"{np.median(before):.4f} s, encode {np.median(after):.4f} s, ratios "
        + " ".join(f"{ratio:.2f}" for ratio in before / after)
    )


def compare_layouts(audio: torch.Tensor, pairs: int) -> None:
    """Print how long the depthwise convolution of each stage takes in both layouts."""
    channels, length, taps = PUBLISHED.num_filters, audio.shape[1], PUBLISHED.kernel_size
    for ratio in (*PUBLISHED.downsampling_ratios, 1):
        image = torch.randn(len(audio), channels, 1, length).to(audio)
        last = image.contiguous(memory_format=torch.channels_last)
        shape = channels, channels, (1, taps)
        conv = nn.Conv2d(*shape, padding=(0, taps - 1), groups=channels).to(audio)
        times = [(timed(conv, image), timed(conv, last)) for _ in range(pairs + 1)]
        before, after = 1000 * np.median(times[1:], axis=0)
        print(
            f"{channels:4} channels, {length:6} steps: time last {before:.2f} ms, channels last "
            f"{after:.2f} ms"
        )
        channels, length = 2 * channels, length // ratio


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the cost of the audio encoders.")
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0, help="length of the timed audio")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    options = parser.parse_args()
    count(options.rows)
    if options.seconds:
        samples = round(options.seconds * SAMPLE_RATE / PUBLISHED.hop_length) * PUBLISHED.hop_length
        audio = 0.1 * torch.randn(options.rows, samples)
        audio = audio.to(options.device, getattr(torch, options.dtype))
        with torch.inference_mode():
            measure(audio, options.pairs)
            compare_layouts(audio, options.pairs)


if __name__ == "__main__":
    main()
