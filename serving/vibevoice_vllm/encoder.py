"""Windows of audio → latents, by the weights of transformers' two VibeVoice encoders.

transformers' modules hold the weights; their work is done here in another order, since three
quarters of its time is memory traffic. One layout throughout, (rows, time, channels), so that
nothing is transposed; a norm is one operation, layer scale and residual another, in place; and a
convolution pads its input itself. The results differ by rounding (tests/plugin/test_encoder.py).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F

_STEPS = 8
"""Fixed lengths from one power of two to the next: filling a window up to one of them costs an
eighth of its computation at most."""


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


def fixed_length(tokens: int, *whole: int) -> int:
    """The length that a window of so many tokens is filled up to.

    A GPU's libraries choose and prepare their kernels once a shape, so there are few. `whole` are
    lengths that come often, and are fixed ones too.
    """
    step = max(1, (1 << (tokens - 1).bit_length()) // (2 * _STEPS))
    return min(n for n in (-(-tokens // step) * step, *whole) if n >= tokens)


def batches(lengths: Sequence[int], window: int, context: int) -> Iterator[tuple[int, list[int]]]:
    """Windows to encode together, as (fixed length, their indices).

    All numbers are tokens. A batch holds no more than one whole window with its context does,
    since that much fills a GPU, and memory is measured with it (`DummyInputs`).
    """
    alike: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        alike.setdefault(fixed_length(length, window, window + context), []).append(index)
    for length, indices in sorted(alike.items()):
        rows = max(1, (window + context) // length)
        for start in range(0, len(indices), rows):
            yield length, indices[start : start + rows]


def stacked(windows: Sequence[torch.Tensor], samples: int, dtype: torch.dtype) -> torch.Tensor:
    """Windows (samples,) → (rows, samples), filled up with silence on the right, which no token
    before depends on."""
    audio = windows[0].new_zeros(len(windows), samples, dtype=dtype)
    for row, window in zip(audio, windows, strict=True):
        row[: len(window)] = window
    return audio


def arranged(encoder: Any) -> Any:
    """The same encoder, its convolutions' weights laid out as `encode` reads them, channels last.

    Shapes and names stay as they are, and so does the layout when a checkpoint is loaded.

    Raises:
        ValueError: the encoder has another activation than the published ones.
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
    """Latents (rows, tokens, width) of audio (rows, samples) of whole hops, in the dtype of the
    weights of `encoder`, a transformers `VibeVoiceAcousticTokenizerEncoderModel`."""
    x = audio.unsqueeze(-1)
    for stage in (encoder.stem, *encoder.conv_layers):
        x = _convolved(x, stage.conv.conv).contiguous()
        for block in stage.stage:
            _add_block(x, block)
    return _convolved(x, encoder.head.conv)


def _convolved(x: torch.Tensor, conv: nn.Conv1d) -> torch.Tensor:
    """A causal convolution of x (rows, time, channels).

    It pads both sides by what the left one needs, `(kernel - 1) - (stride - 1)`, which takes no
    copy; what the right one adds is cut off. As `conv2d`, because `conv1d` copies an input whose
    channels come last.
    """
    (kernel,), (stride,) = conv.kernel_size, conv.stride
    image = x.unsqueeze(1).permute(0, 3, 1, 2)
    weight = conv.weight.unsqueeze(2)
    padding = 0, kernel - stride
    image = F.conv2d(image, weight, conv.bias, (1, stride), padding, groups=conv.groups)
    return image.permute(0, 2, 3, 1)[:, 0, : x.shape[1] // stride]


def _add_block(x: torch.Tensor, block: Any) -> None:
    """Add what a transformers `VibeVoiceAcousticTokenizerConvNext1dLayer` does to x (rows, time,
    channels)."""
    x.addcmul_(_convolved(_normalized(x, block.norm), block.mixer.conv), block.gamma)
    hidden = block.ffn.linear1(_normalized(x, block.ffn_norm))
    x.addcmul_(block.ffn.linear2(torch.ops.aten.gelu_(hidden)), block.ffn_gamma)


def _normalized(x: torch.Tensor, norm: Any) -> torch.Tensor:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


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
