"""Builds speech models of the published sizes with random weights; their speech never ends."""

import itertools
from pathlib import Path
from typing import Any, cast

import numpy as np
import soundfile
import torch
from tests.support.tts_fixtures import LONGFORM, LONGFORM_SIZE, REALTIME_SIZE
from tokenizers import Tokenizer
from transformers import VibeVoiceConfig, VibeVoiceForConditionalGeneration
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding
from transformers.models.vibevoice.modeling_vibevoice import (
    VibeVoiceDiffusionHeadSinusoidalEmbedding,
)

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_tts.engines import longform_model, realtime_model
from vibevoice_tts.engines.layout import longform_config
from vibevoice_tts.engines.longform import Longform
from vibevoice_tts.engines.longform_model import LongformModel
from vibevoice_tts.engines.longform_prompt import FRAME
from vibevoice_tts.engines.presets import Preset, save_preset
from vibevoice_tts.engines.realtime import Realtime
from vibevoice_tts.engines.realtime_model import RealtimeConfig, RealtimeModel
from vibevoice_tts.models import ModelConfig

LOWER_POSITIONS, UPPER_POSITIONS = 90, 250
"""Positions of a preset; Microsoft's have 49 to 120 and 148 to 303."""
VOICE_SECONDS = 10
_BLOCK = 2**20


def randomize(model: torch.nn.Module, device: torch.device) -> None:
    """Allocate memory for a model built on the meta device and fill it with small random weights,
    so that nothing overflows in the layers."""
    model.to_empty(device=device)
    noise = torch.empty(_BLOCK, device=device).uniform_(-0.02, 0.02)
    for name, weight in itertools.chain(model.named_parameters(), model.named_buffers()):
        if weight.ndim < 2:
            weight.data.fill_(1.0 if "norm" in name or "scaling" in name else 0.0)
            continue
        for part in weight.data.view(-1).split(_BLOCK):
            part.copy_(noise[: part.numel()])


def realtime_sizes(layers: int = 0) -> dict[str, Any]:
    """Values of the Realtime model's config.json; see `_cut`."""
    return _cut(REALTIME_SIZE, layers)


def reference_sizes(layers: int = 0) -> dict[str, Any]:
    """The same values for Microsoft's code."""
    sizes = realtime_sizes(layers)
    return {**sizes, "decoder_config": {**sizes["decoder_config"], "model_type": "qwen2"}}


def _cut(sizes: dict[str, Any], layers: int) -> dict[str, Any]:
    """The sizes with `layers` language model layers; 0 keeps all."""
    if not layers:
        return sizes
    return {
        **sizes,
        "decoder_config": {**sizes["decoder_config"], "num_hidden_layers": layers},
        "tts_backbone_num_hidden_layers": max(1, layers * 5 // 6),
    }


def build_realtime(
    folder: Path, device: torch.device, dtype: torch.dtype, layers: int, capacity: int
) -> Realtime:
    """A Realtime model with one voice, written to `folder`."""
    config = RealtimeConfig.from_original(realtime_sizes(layers), "sdpa")
    with torch.device("meta"):
        model = RealtimeModel(config).to(dtype)
    randomize(model, device)
    torch.nn.init.constant_(model.tts_eos_classifier.fc2.bias, -100.0)
    realtime_model.complete(model, device)

    def key_values(of: Any, positions: int) -> torch.Tensor:
        size = of.hidden_size // of.num_attention_heads
        shape = of.num_hidden_layers, 2, of.num_key_value_heads, positions, size
        return torch.randn(shape) / 10

    preset = Preset(
        language_model=key_values(config.lower, LOWER_POSITIONS),
        tts_language_model=key_values(config.upper, UPPER_POSITIONS),
        negative=key_values(config.upper, 1),
        negative_condition=torch.randn(config.upper.hidden_size) / 10,
    )
    save_preset(preset, folder / "en-Random_man.safetensors")
    served = ModelConfig("realtime", voices=str(folder), capacity=capacity)
    return Realtime(served, model, _tokenizer())


class _Talkative(LongformModel):
    """Produces only frames, whatever its weights."""

    def choose(self, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return super().choose(hidden, tokens).fill_(FRAME)


def build_longform(
    folder: Path, device: torch.device, dtype: torch.dtype, layers: int, capacity: int
) -> Longform:
    """A 1.5B model with one 10 s voice, written to `folder`."""
    config = VibeVoiceConfig(**longform_config(_cut(LONGFORM_SIZE, layers)))
    with torch.device("meta"):
        model = VibeVoiceForConditionalGeneration(config)
        cast(torch.nn.Module, model).to(dtype)
    randomize(model, device)
    model.tie_weights()
    parts = model.model
    parts.language_model.rotary_emb = Qwen2RotaryEmbedding(parts.language_model.config)
    parts.diffusion_head.timestep_embedding = VibeVoiceDiffusionHeadSinusoidalEmbedding(
        parts.diffusion_head.timestep_embedding.config
    )
    longform_model.complete(model, device)
    recording = np.random.default_rng(1).normal(0, 0.1, VOICE_SECONDS * SAMPLE_RATE)
    soundfile.write(folder / "en-Random_man.wav", recording, SAMPLE_RATE)
    served = ModelConfig("longform", voices=str(folder), capacity=capacity)
    return Longform(served, _Talkative(model), _tokenizer())


def _tokenizer() -> Tokenizer:
    """A tokenizer of single bytes, with the control tokens of the 1.5B model."""
    return Tokenizer.from_file(str(LONGFORM / "tokenizer.json"))
