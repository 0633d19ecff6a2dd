"""transformers' audio encoder, computed so that a CPU trains it several times faster.

Weights and results are the same (a test compares them); only the order of operations differs. Time
comes before channels, so nothing is transposed. A convolution whose kernel is twice its stride is
computed as two matrix products. A depthwise convolution is a sum of shifted products, because
PyTorch's backward pass takes most of a step on a CPU. The stem is folded into the first
downsampling.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


def shifted(x: torch.Tensor, steps: int) -> torch.Tensor:
    """x (rows, time, channels), delayed by `steps` and padded with zeros."""
    return F.pad(x, (0, 0, steps, 0))[:, : x.shape[1]] if steps else x


def causal(x: torch.Tensor, conv: nn.Conv1d) -> torch.Tensor:
    """A causal convolution with stride 1, as one matrix product per tap."""
    taps = conv.weight.shape[-1]
    assert conv.bias is not None
    summed = conv.bias
    for tap in range(taps):
        summed = summed + shifted(x @ conv.weight[:, :, tap].T, taps - 1 - tap)
    return summed


def depthwise(x: torch.Tensor, conv: nn.Conv1d) -> torch.Tensor:
    taps = conv.weight.shape[-1]
    padded = F.pad(x, (0, 0, taps - 1, 0))
    assert conv.bias is not None
    summed = conv.bias
    for tap in range(taps):
        summed = torch.addcmul(summed, padded[:, tap : tap + x.shape[1]], conv.weight[:, 0, tap])
    return summed


def downsampled(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """A causal convolution whose kernel (out, in, 2 * stride) is twice its stride."""
    stride = weight.shape[-1] // 2
    windows = x.unflatten(1, (-1, stride)).flatten(2)
    earlier, current = (w.permute(2, 1, 0).flatten(0, 1) for w in weight.split(stride, -1))
    summed = windows @ current + shifted(windows @ earlier, 1)
    return summed if bias is None else summed + bias


def stem(audio: torch.Tensor, first: nn.Conv1d, second: nn.Conv1d) -> torch.Tensor:
    """Both convolutions, which are adjacent, as one: audio (rows, samples)."""
    taps, kernel, stride = first.weight.shape[-1], second.weight.shape[-1], second.stride[0]
    assert first.bias is not None and second.bias is not None
    flipped = first.weight.permute(1, 0, 2)
    # (out, 1, kernel + taps - 1): the full convolution of the kernels over their channels
    weight = F.conv1d(second.weight, flipped.flip(-1), padding=taps - 1)
    constant = torch.einsum("oik,i->ok", second.weight, first.bias)
    width = -(-weight.shape[-1] // stride) * stride
    weight = F.pad(weight, (width - weight.shape[-1], 0))[:, 0]
    windows = audio.unflatten(1, (-1, stride))
    summed = second.bias + constant.sum(-1)
    for index, part in enumerate(weight.split(stride, -1)):
        summed = summed + shifted(windows @ part.T, width // stride - 1 - index)
    # before the first sample, the second convolution sees zeros instead of the first one's bias
    before = kernel - stride
    return torch.cat([summed[:, :1] - constant[:, :before].sum(-1), summed[:, 1:]], 1)


def block(x: torch.Tensor, layer: Any) -> torch.Tensor:
    x = x + layer.gamma * depthwise(layer.norm(x), layer.mixer.conv)
    return x + layer.ffn_gamma * layer.ffn(layer.ffn_norm(x))


def encoded(encoder: Any, audio: torch.Tensor) -> list[torch.Tensor]:
    """The output of each stage of a `VibeVoiceAcousticTokenizerEncoderModel` for audio (rows,
    samples), (rows, time, channels), and finally the latents, (rows, tokens, latent)."""
    assert not len(encoder.stem.stage), "only a stem without blocks can be folded"
    first, *others = encoder.conv_layers
    x = stem(audio, encoder.stem.conv.conv, first.conv.conv)
    for layer in first.stage:
        x = block(x, layer)
    stages = [x]
    for stage in others:
        x = downsampled(x, stage.conv.conv.weight, stage.conv.conv.bias)
        for layer in stage.stage:
            x = block(x, layer)
        stages.append(x)
    return [*stages, causal(x, encoder.head.conv)]
