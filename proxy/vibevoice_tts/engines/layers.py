"""Replacements for transformers' layers that compute the same results but are faster for
frame-by-frame speech: few rows, one position each, and weights far larger than their inputs.

They have the same parameters under the same names. For the speedup of each, see
docs/results/speech.md.
"""

from typing import cast

import torch
from torch import nn
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm
from transformers.models.vibevoice.modeling_vibevoice import VibeVoiceRMSNorm
from transformers.models.vibevoice_acoustic_tokenizer.modeling_vibevoice_acoustic_tokenizer import (
    VibeVoiceAcousticTokenizerCausalConv1d,
    VibeVoiceAcousticTokenizerCausalConvTranspose1d,
    VibeVoiceAcousticTokenizerConvNext1dLayer,
    VibeVoiceAcousticTokenizerRMSNorm,
)

from vibevoice_tts.engines.slots import ConvolutionSlots

NARROW = (2, 3)
"""Numbers of rows for which a float32 matrix product on a CPU is faster transposed; the two
branches of one request are two rows."""
_NORMS = (Qwen2RMSNorm, VibeVoiceRMSNorm, VibeVoiceAcousticTokenizerRMSNorm)
"""transformers' norm layers, which take seven operations each."""


class NarrowLinear(nn.Module):
    """`nn.Linear` for float32 on a CPU: with two or three rows, x Wᵀ is computed as (W xᵀ)ᵀ, which
    does not make the library repack the weights."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        rows = inputs.flatten(0, -2)
        if rows.shape[0] not in NARROW:
            return nn.functional.linear(inputs, self.weight, self.bias)
        outputs = (self.weight @ rows.T).T
        if self.bias is not None:
            outputs = outputs + self.bias
        return outputs.reshape(*inputs.shape[:-1], -1)


class Block(nn.Module):
    """A block of an acoustic decoder or encoder that fuses scaling and adding."""

    def __init__(self, original: VibeVoiceAcousticTokenizerConvNext1dLayer) -> None:
        super().__init__()
        self.norm, self.mixer, self.gamma = original.norm, original.mixer, original.gamma
        self.ffn_norm, self.ffn, self.ffn_gamma = (
            original.ffn_norm,
            original.ffn,
            original.ffn_gamma,
        )

    def forward(
        self, hidden_states: torch.Tensor, padding_cache: ConvolutionSlots | None = None
    ) -> torch.Tensor:
        """[rows, channels, positions] → the same shape."""
        normed = self.norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        mixed = self.mixer(normed, padding_cache=padding_cache)
        hidden_states = torch.addcmul(hidden_states, mixed, self.gamma[:, None])
        fed = self.ffn(self.ffn_norm(hidden_states.transpose(1, 2))).transpose(1, 2)
        return torch.addcmul(hidden_states, fed, self.ffn_gamma[:, None])


class Upsampling(nn.Module):
    """A causal transposed convolution, continued from the previous frame, as one matrix product.

    Its kernel is two strides long, so new samples depend only on the new positions and the one
    before them; the original processes a whole kernel of earlier positions.
    """

    left_pad = 1

    def __init__(self, original: VibeVoiceAcousticTokenizerCausalConvTranspose1d) -> None:
        super().__init__()
        if original.convtr.kernel_size[0] != 2 * original.stride:
            raise ValueError("the kernel of an upsampling layer must be two strides long")
        self.convtr, self.stride, self.cache_key = (
            original.convtr,
            original.stride,
            original.cache_key,
        )

    def forward(self, hidden_states: torch.Tensor, padding_cache: ConvolutionSlots) -> torch.Tensor:
        """[rows, in, positions] → [rows, out, positions * stride]."""
        padded = padding_cache.update(hidden_states, self.cache_key, self).transpose(1, 2)
        products = padded.flatten(0, 1) @ self.convtr.weight.flatten(1)
        now, later = products.view(*padded.shape[:2], -1, 2, self.stride).unbind(3)
        samples = (now[:, 1:] + later[:, :-1]).transpose(1, 2).flatten(2)
        return samples + cast(torch.Tensor, self.convtr.bias)[:, None]


class Downsampling(nn.Module):
    """A causal strided convolution, continued from the previous frame, as one matrix product; for
    the original, the library repacks the weights at every call."""

    def __init__(self, original: VibeVoiceAcousticTokenizerCausalConv1d) -> None:
        super().__init__()
        self.conv, self.left_pad, self.cache_key = (
            original.conv,
            original.left_pad,
            original.cache_key,
        )

    def forward(self, hidden_states: torch.Tensor, padding_cache: ConvolutionSlots) -> torch.Tensor:
        """[rows, in, positions * stride] → [rows, out, positions]."""
        padded = padding_cache.update(hidden_states, self.cache_key, self)
        (kernel,), (stride,) = self.conv.kernel_size, self.conv.stride
        windows = padded.unfold(-1, kernel, stride).transpose(1, 2).flatten(2)
        outputs = nn.functional.linear(windows, self.conv.weight.flatten(1), self.conv.bias)
        return outputs.transpose(1, 2)


def narrow_linears(model: nn.Module) -> None:
    """Replace every linear layer of a model in place if the model is in float32 on a CPU."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear and child.weight.is_cpu and child.weight.dtype.itemsize > 2:
                setattr(parent, name, NarrowLinear(child))


def fuse(model: nn.Module) -> None:
    """Replace, in place, every norm layer of a model with torch's own, which is one operation on a
    GPU, and every block of its acoustic decoder and encoders with `Block`."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, VibeVoiceAcousticTokenizerConvNext1dLayer):
                setattr(parent, name, Block(child))
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _NORMS):
                norm = nn.RMSNorm(child.weight.shape, eps=child.variance_epsilon, device="meta")
                norm.weight = child.weight
                setattr(parent, name, norm)


def upsample_by_product(decoder: nn.Module) -> None:
    """Replace the first upsampling layer of an acoustic decoder in place: it has the most weights,
    and one position per frame."""
    layer = cast(nn.ModuleList, decoder.conv_layers)[0]
    layer.convtr = Upsampling(cast(VibeVoiceAcousticTokenizerCausalConvTranspose1d, layer.convtr))


def downsample_by_product(encoder: nn.Module) -> None:
    """Replace the last downsampling layer of an encoder in place: it has the most weights, and one
    position per frame. The encoder then only works frame by frame."""
    layer = cast(nn.ModuleList, encoder.conv_layers)[-1]
    layer.conv = Downsampling(cast(VibeVoiceAcousticTokenizerCausalConv1d, layer.conv))
