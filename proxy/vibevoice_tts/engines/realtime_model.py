"""VibeVoice-Realtime-0.5B, built from the parts of the 1.5B model in transformers.

A Qwen2.5-0.5B is split in two: the lower layers (`language_model`) read only text; the upper layers
(`tts_language_model`) read their output and the speech generated so far. A diffusion head turns the
upper part's last hidden state into an acoustic latent, which a causal decoder turns into 3200
samples. Parts and parameters are named as in transformers' pull request 42781.

Architecture and constants: microsoft/VibeVoice at e73d1e1, modeling_vibevoice_streaming*.py.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn
from transformers import Qwen2Config, Qwen2Model
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding
from transformers.models.vibevoice.configuration_vibevoice import VibeVoiceDiffusionHeadConfig
from transformers.models.vibevoice.modeling_vibevoice import (
    VibeVoiceDiffusionHead,
    VibeVoiceDiffusionHeadSinusoidalEmbedding,
    VibeVoiceMultiModalProjector,
)
from transformers.models.vibevoice_acoustic_tokenizer import (
    VibeVoiceAcousticTokenizerConfig,
    VibeVoiceAcousticTokenizerDecoderModel,
)

from vibevoice_tts.engines.attention import attention_name
from vibevoice_tts.engines.device import choose_device
from vibevoice_tts.engines.layers import fuse, narrow_linears, upsample_by_product
from vibevoice_tts.engines.layout import head_config, tokenizer_config
from vibevoice_tts.engines.loading import (
    CheckpointError,
    load_weights,
    read_config,
    read_original_tensors,
)
from vibevoice_tts.engines.slots import ConvolutionSlots, KeyValueSlots
from vibevoice_tts.models import Attention, ModelConfig

SPEECH, TEXT = 0, 1
"""Rows of `tts_input_types`: the type of a position in the upper part's input."""


@dataclass(frozen=True, kw_only=True)
class RealtimeConfig:
    """Sizes of the model's parts."""

    lower: Qwen2Config
    upper: Qwen2Config
    audio: VibeVoiceAcousticTokenizerConfig
    head: VibeVoiceDiffusionHeadConfig

    @classmethod
    def from_original(cls, config: dict[str, Any], attention: Attention) -> Self:
        """Build from the values of the published config.json.

        Raises:
            CheckpointError: the config belongs to another model.
        """
        if config.get("model_type") != "vibevoice_streaming":
            raise CheckpointError(
                f"config.json has model_type {config.get('model_type')!r}; expected "
                "'vibevoice_streaming' for a Realtime model"
            )
        text = {**config["decoder_config"], "attn_implementation": attention_name(attention)}
        layers, upper = text["num_hidden_layers"], config["tts_backbone_num_hidden_layers"]
        text.pop("layer_types", None)
        return cls(
            lower=Qwen2Config(**{**text, "num_hidden_layers": layers - upper}),
            # The upper part's own embedding is never read, so it is not built.
            upper=Qwen2Config(
                **{**text, "num_hidden_layers": upper, "vocab_size": 1, "pad_token_id": None}
            ),
            audio=VibeVoiceAcousticTokenizerConfig(
                **tokenizer_config(config["acoustic_tokenizer_config"])
            ),
            head=VibeVoiceDiffusionHeadConfig(**head_config(config["diffusion_head_config"])),
        )


class EosClassifier(nn.Module):
    """Predicts whether speech ends after a frame: [rows, hidden] → logits [rows]."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, hidden_size)
        self.fc2 = nn.Linear(hidden_size, 1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.fc2(torch.relu(self.fc1(hidden)))[:, 0]


class _AudioTower(nn.Module):
    """Gives the decoder the same name as in the model with an encoder."""

    def __init__(self, config: VibeVoiceAcousticTokenizerConfig) -> None:
        super().__init__()
        self.decoder = VibeVoiceAcousticTokenizerDecoderModel(config.decoder_config)


class RealtimeModel(nn.Module):
    """The parts and their forward passes, without the generation loop and without state."""

    latent_scaling_factor: torch.Tensor
    latent_bias_factor: torch.Tensor

    def __init__(self, config: RealtimeConfig) -> None:
        super().__init__()
        hidden = config.upper.hidden_size
        self.config = config
        self.language_model = Qwen2Model(config.lower)
        # Only the upper part applies the final norm, and only the lower one reads ids.
        setattr(self.language_model, "norm", nn.Identity())  # noqa: B010
        self.tts_language_model = Qwen2Model(config.upper)
        setattr(self.tts_language_model, "embed_tokens", None)  # noqa: B010
        self.tts_input_types = nn.Embedding(2, hidden)
        self.multi_modal_projector = VibeVoiceMultiModalProjector(config.audio.hidden_size, hidden)
        self.diffusion_head = VibeVoiceDiffusionHead(config.head)
        self.audio_tower = _AudioTower(config.audio)
        self.tts_eos_classifier = EosClassifier(hidden)
        self.register_buffer("latent_scaling_factor", torch.tensor(1.0))
        self.register_buffer("latent_bias_factor", torch.tensor(0.0))

    @property
    def device(self) -> torch.device:
        return self.tts_input_types.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.tts_input_types.weight.dtype

    @property
    def frame_samples(self) -> int:
        """Samples per frame; 3200 at the published size."""
        return self.config.audio.hop_length

    def read_text(self, ids: torch.Tensor, slots: list[int], lower: KeyValueSlots) -> torch.Tensor:
        """Token ids [rows, tokens] → hidden states of the lower part, [rows, tokens, hidden]."""
        mask, positions = lower.select(slots, ids.shape[1])
        return _forward(
            self.language_model, self.language_model.embed_tokens(ids), mask, positions, lower
        )

    def read(
        self, inputs: torch.Tensor, kind: int, slots: list[int], upper: KeyValueSlots
    ) -> torch.Tensor:
        """Text states or projected latents [rows, positions, hidden] → hidden states of the upper
        part, of the same shape; `kind` is TEXT or SPEECH."""
        mask, positions = upper.select(slots, inputs.shape[1])
        inputs = inputs + self.tts_input_types.weight[kind]
        return _forward(self.tts_language_model, inputs, mask, positions, upper)

    def decode(self, latents: torch.Tensor, contexts: ConvolutionSlots) -> torch.Tensor:
        """Latents [rows, latent] → audio [rows, samples], continuing from `contexts`."""
        scaled = latents / self.latent_scaling_factor - self.latent_bias_factor
        return self.audio_tower.decoder(scaled[:, :, None], padding_cache=contexts).audio[:, 0]


def _forward(
    decoder: Qwen2Model,
    inputs: torch.Tensor,
    mask: torch.Tensor,
    positions: torch.Tensor,
    slots: KeyValueSlots,
) -> torch.Tensor:
    return decoder(
        inputs_embeds=inputs,
        attention_mask={"full_attention": mask},
        position_ids=positions,
        past_key_values=slots,
        use_cache=True,
    ).last_hidden_state


def load_realtime(config: ModelConfig) -> RealtimeModel:
    """Load the model from a folder in the layout that Microsoft publishes.

    Raises:
        CheckpointError: the folder does not contain one.
        DeviceUnavailable: the configured device cannot be used.
    """
    folder = Path(config.folder)
    device, dtype = choose_device(config)
    with torch.device("meta"):
        model = RealtimeModel(RealtimeConfig.from_original(read_config(folder), config.attention))
    tensors = read_original_tensors(folder)
    load_weights(model, ((name.removeprefix("model."), tensor) for name, tensor in tensors), dtype)
    return complete(model, device)


def complete(model: RealtimeModel, device: torch.device) -> RealtimeModel:
    """Prepare a model, built on the meta device and with its weights loaded, to speak."""
    config = model.config
    # Constants that are not in checkpoints are still on the meta device.
    model.language_model.rotary_emb = Qwen2RotaryEmbedding(config.lower)
    model.tts_language_model.rotary_emb = Qwen2RotaryEmbedding(config.upper)
    model.diffusion_head.timestep_embedding = VibeVoiceDiffusionHeadSinusoidalEmbedding(config.head)
    model.to(device).eval()
    narrow_linears(model)
    fuse(model)
    upsample_by_product(model.audio_tower.decoder)
    return model
