"""The diffusion head of both models, for all denoising steps of a frame at once.

It has the same parameters and results as transformers' VibeVoiceDiffusionHead. The part that
depends only on condition and time, a third of its weights, is computed for all steps together
before the first one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch.nn.functional import rms_norm
from transformers.models.vibevoice.modeling_vibevoice import (
    VibeVoiceDiffusionHead,
    VibeVoiceDiffusionHeadAdaLayerNorm,
)


@dataclass(frozen=True)
class Modulation:
    """The shifts, scales and gates of one step: a tensor [rows, hidden] for each layer; shifts and
    scales have one more for the final layer."""

    shifts: tuple[torch.Tensor, ...]
    scales: tuple[torch.Tensor, ...]
    gates: tuple[torch.Tensor, ...]


class StepwiseHead:
    """A diffusion head that computes once what all steps share."""

    def __init__(self, head: VibeVoiceDiffusionHead) -> None:
        self._head = head
        self._layers = [cast(VibeVoiceDiffusionHeadAdaLayerNorm, layer) for layer in head.layers]

    def embed_times(self, times: torch.Tensor) -> torch.Tensor:
        """Times of the steps, [steps] in the model's dtype → [steps, hidden]."""
        head = self._head
        return head.timestep_proj(head.timestep_embedding(times).to(times.dtype))

    def modulate(self, conditions: torch.Tensor, times: torch.Tensor) -> Iterator[Modulation]:
        """Conditions [rows, hidden], embedded times [steps, hidden] → one modulation per step."""
        end = self._head.final_layer
        inputs = end.act_fn(self._head.cond_proj(conditions) + times[:, None])
        shifts, scales, gates = [], [], []
        for layer in self._layers:
            shift, scale, gate = layer.linear(inputs).chunk(3, dim=-1)
            shifts.append(shift.unbind())
            scales.append((1 + scale).unbind())
            gates.append(gate.unbind())
        shift, scale = end.linear_1(inputs).chunk(2, dim=-1)
        shifts.append(shift.unbind())
        scales.append((1 + scale).unbind())
        by_step = (zip(*parts, strict=True) for parts in (shifts, scales, gates))
        return (Modulation(*parts) for parts in zip(*by_step, strict=True))

    def __call__(self, latents: torch.Tensor, modulation: Modulation) -> torch.Tensor:
        """Latents [rows, latent] → velocities of the same shape."""
        hidden = self._head.noisy_images_proj(latents)
        for layer, shift, scale, gate in zip(
            self._layers, modulation.shifts, modulation.scales, modulation.gates, strict=False
        ):
            inputs = torch.addcmul(shift, layer.norm(hidden), scale)
            hidden = torch.addcmul(hidden, gate, layer.ffn(inputs))
        end = self._head.final_layer
        normed = rms_norm(hidden, hidden.shape[-1:], eps=end.rms_norm_eps)
        return end.linear_2(torch.addcmul(modulation.shifts[-1], normed, modulation.scales[-1]))
