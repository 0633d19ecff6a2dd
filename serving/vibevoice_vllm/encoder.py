"""Windows of audio → latents, by transformers' two VibeVoice encoders."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch.nn.functional import pad

_SLACK = 1.25
"""How many times as long as the shortest window of a batch the longest may be: the shorter ones are
padded, which costs computation."""


class EncoderConfig(Protocol):
    """What of a transformers `VibeVoiceAcousticTokenizerEncoderConfig` is read here."""

    @property
    def kernel_size(self) -> int: ...
    @property
    def depths(self) -> Sequence[int]: ...
    @property
    def downsampling_ratios(self) -> Sequence[int]: ...


def context_samples(config: EncoderConfig) -> int:
    """How many samples before its own hop an audio token depends on.

    All convolutions are causal: each pads `(kernel - 1) - (stride - 1)` on its left, at the rate
    that the strides before it leave (transformers, modeling_vibevoice_acoustic_tokenizer.py). The
    downsampling ones have a kernel of twice their stride.
    """
    block = config.kernel_size - 1
    samples, stride = block * (1 + config.depths[0]), 1
    for ratio, depth in zip(config.downsampling_ratios, config.depths[1:], strict=True):
        samples += ratio * stride
        stride *= ratio
        samples += block * depth * stride
    return samples + block * stride


def context_tokens(hop: int, *configs: EncoderConfig) -> int:
    """The same in whole tokens, the most of several encoders that get the same audio."""
    return max(-(-context_samples(config) // hop) for config in configs)


def batches(lengths: Sequence[int], rows: int) -> Iterator[list[int]]:
    """Indices of windows to encode together: at most `rows`, of about equal length."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) == rows or lengths[index] > _SLACK * lengths[batch[0]]):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def encode(encoder: torch.nn.Module, rows: Sequence[torch.Tensor], hop: int) -> list[torch.Tensor]:
    """Audio rows (samples,) of whole hops → latents (tokens, width) each.

    Shorter rows are filled up on the right, which no token before depends on.
    """
    longest = max(len(row) for row in rows)
    audio = torch.stack([pad(row, (0, longest - len(row))) for row in rows])
    latents = encoder(audio[:, None]).latents
    return [latents[i, : len(row) // hop] for i, row in enumerate(rows)]


def noise(latents: torch.Tensor, std: float, seed: int) -> torch.Tensor:
    """Noise of the shape of one window's acoustic latents (tokens, width), on their device.

    As transformers' `get_audio_features` samples it: normal, its deviation itself normal with
    deviation `std`, and the same for a whole recording. `seed` is a `Window.seed`. Drawn on the
    CPU, so that every rank of a tensor-parallel group draws the same.
    """
    recording = torch.Generator().manual_seed(seed >> 20)
    deviation = std * torch.randn((), generator=recording)
    window = torch.Generator().manual_seed(seed)
    return (deviation * torch.randn(latents.shape, generator=window)).to(latents)
