"""Encodes windows of audio into latents, with the weights of transformers' two VibeVoice encoders.

The weights stay in transformers' modules, but this module has its own forward pass, because
transformers' spends three quarters of the time on memory traffic. It uses one layout throughout,
(rows, time, channels), so nothing is transposed. Each norm is one operation, layer scale and
residual are applied in place, and convolutions pad their own input. Results differ from
transformers' only by rounding (tests/plugin/test_encoder.py).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F

_STEPS = 8
"""Number of fixed lengths from one power of two to the next: padding a window to one of them adds
at most an eighth to its computation."""


class EncoderConfig(Protocol):
    """The fields of transformers' `VibeVoiceAcousticTokenizerEncoderConfig` that are read here."""

    @property
    def kernel_size(self) -> int: ...
    @property
    def depths(self) -> Sequence[int]: ...
    @property
    def downsampling_ratios(self) -> Sequence[int]: ...


def context_samples(config: EncoderConfig) -> int:
    """Number of samples before its own hop that an audio token depends on.

    All convolutions are causal: each pads `(kernel - 1) - (stride - 1)` on the left, at the rate
    left by the strides before it (transformers, modeling_vibevoice_acoustic_tokenizer.py). The
    downsampling convolutions have a kernel of twice their stride.
    """
    block = config.kernel_size - 1
    samples, stride = block * (1 + config.depths[0]), 1
    for ratio, depth in zip(config.downsampling_ratios, config.depths[1:], strict=True):
        samples += ratio * stride
        stride *= ratio
        samples += block * depth * stride
    return samples + block * stride


def context_tokens(hop: int, *configs: EncoderConfig) -> int:
    """The same in whole tokens: the maximum over several encoders that receive the same audio."""
    return max(-(-context_samples(config) // hop) for config in configs)


def fixed_length(tokens: int, *whole: int) -> int:
    """The length to which a window of `tokens` tokens is padded.

    GPU libraries select and prepare kernels for every new shape, so only a few lengths are used.
    `whole` lists further lengths that are common and therefore kept as they are.
    """
    step = max(1, (1 << (tokens - 1).bit_length()) // (2 * _STEPS))
    return min(n for n in (-(-tokens // step) * step, *whole) if n >= tokens)


def batches(lengths: Sequence[int], window: int, context: int) -> Iterator[tuple[int, list[int]]]:
    """Group windows into batches, as (fixed length, indices of the windows).

    All numbers are tokens. A batch is no larger than one whole window with its context: that is
    enough to fill a GPU, and memory is measured with that size (`DummyInputs`).
    """
    alike: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        alike.setdefault(fixed_length(length, window, window + context), []).append(index)
    for length, indices in sorted(alike.items()):
        rows = max(1, (window + context) // length)
        for start in range(0, len(indices), rows):
            yield length, indices[start : start + rows]


def stacked(windows: Sequence[torch.Tensor], samples: int, dtype: torch.dtype) -> torch.Tensor:
    """Stack windows (samples,) into (rows, samples), padded on the right with silence, which does
    not affect earlier tokens."""
    audio = windows[0].new_zeros(len(windows), samples, dtype=dtype)
    for row, window in zip(audio, windows, strict=True):
        row[: len(window)] = window
    return audio


def arranged(encoder: Any) -> Any:
    """Store the encoder's convolution weights channels-last, as `encode` reads them.

    Shapes and names do not change, and loading a checkpoint keeps this layout.

    Raises:
        ValueError: the encoder's activation is not that of the published encoders.
    """
    if encoder.config.hidden_act != "gelu":
        raise ValueError(f"Expected hidden_act gelu, got {encoder.config.hidden_act}.")
    for module in encoder.modules():
        if isinstance(module, nn.Conv1d):
            weight = module.weight.data
            module.weight.data = weight.transpose(1, 2).contiguous().transpose(1, 2)
    return encoder


@torch.no_grad()
def encode(encoder: Any, audio: torch.Tensor) -> torch.Tensor:
    """Encode audio (rows, samples) of whole hops into latents (rows, tokens, width), in the dtype
    of `encoder`'s weights. `encoder` is a transformers `VibeVoiceAcousticTokenizerEncoderModel`."""
    x = audio.unsqueeze(-1)
    for stage in (encoder.stem, *encoder.conv_layers):
        x = _convolved(x, stage.conv.conv).contiguous()
        for block in stage.stage:
            _add_block(x, block)
    return _convolved(x, encoder.head.conv)


def _convolved(x: torch.Tensor, conv: nn.Conv1d) -> torch.Tensor:
    """Apply a causal convolution to x (rows, time, channels).

    Pads both sides by what the left side needs, `(kernel - 1) - (stride - 1)`, which needs no
    copy, and cuts off the surplus on the right. Uses `conv2d`, because `conv1d` copies
    channels-last input.
    """
    (kernel,), (stride,) = conv.kernel_size, conv.stride
    image = x.unsqueeze(1).permute(0, 3, 1, 2)
    weight = conv.weight.unsqueeze(2)
    padding = 0, kernel - stride
    image = F.conv2d(image, weight, conv.bias, (1, stride), padding, groups=conv.groups)
    return image.permute(0, 2, 3, 1)[:, 0, : x.shape[1] // stride]


def _add_block(x: torch.Tensor, block: Any) -> None:
    """Apply a transformers `VibeVoiceAcousticTokenizerConvNext1dLayer` to x (rows, time, channels)
    in place."""
    x.addcmul_(_convolved(_normalized(x, block.norm), block.mixer.conv), block.gamma)
    hidden = block.ffn.linear1(_normalized(x, block.ffn_norm))
    x.addcmul_(block.ffn.linear2(torch.ops.aten.gelu_(hidden)), block.ffn_gamma)


def _normalized(x: torch.Tensor, norm: Any) -> torch.Tensor:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


def noise(latents: torch.Tensor, std: float, seed: int) -> torch.Tensor:
    """Noise in the shape of one window's acoustic latents (tokens, width), on the same device.

    Sampled as in transformers' `get_audio_features`: normally distributed, with a standard
    deviation that is itself drawn from a normal distribution with deviation `std` and is constant
    over a recording. `seed` is a `Window.seed`. Drawn on the CPU, so that all ranks of a
    tensor-parallel group draw the same values.
    """
    recording = torch.Generator().manual_seed(seed >> 20)
    deviation = std * torch.randn((), generator=recording)
    window = torch.Generator().manual_seed(seed)
    return (deviation * torch.randn(latents.shape, generator=window)).to(latents)
