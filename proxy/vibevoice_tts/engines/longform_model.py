"""Loads VibeVoice-1.5B (and 7B) from either layout and runs its forward passes.

transformers' own `generate` runs a fixed batch from start to end and uses the global random
generator. This module therefore runs the model's parts one by one, in the same way as `generate`
(transformers 5.19, models/vibevoice/generation_vibevoice.py).
"""

from pathlib import Path
from typing import Any, cast

import torch
from transformers import Qwen2Config, VibeVoiceConfig, VibeVoiceForConditionalGeneration
from transformers.models.vibevoice.modeling_vibevoice import VibeVoiceDiffusionHead
from transformers.models.vibevoice_acoustic_tokenizer import VibeVoiceAcousticTokenizerConfig

from vibevoice_tts.engines.attention import attention_name
from vibevoice_tts.engines.device import choose_device
from vibevoice_tts.engines.layers import (
    downsample_by_product,
    fuse,
    narrow_linears,
    upsample_by_product,
)
from vibevoice_tts.engines.layout import is_original, longform_config
from vibevoice_tts.engines.loading import (
    CheckpointError,
    read_config,
    read_original_tensors,
)
from vibevoice_tts.engines.slots import ConvolutionSlots, KeyValueSlots
from vibevoice_tts.models import ModelConfig


class LongformModel:
    """The forward passes of a loaded model, without the generation loop and without state."""

    def __init__(self, model: VibeVoiceForConditionalGeneration) -> None:
        self._model = model
        self._parts = model.model
        self.text_config = cast(Qwen2Config, model.config.get_text_config())
        self._audio = cast(VibeVoiceAcousticTokenizerConfig, model.config.audio_config)

    @property
    def device(self) -> torch.device:
        return self._model.device

    @property
    def dtype(self) -> torch.dtype:
        return self._model.dtype

    @property
    def head(self) -> VibeVoiceDiffusionHead:
        """The diffusion head."""
        return cast(VibeVoiceDiffusionHead, self._parts.diffusion_head)

    @property
    def frame_samples(self) -> int:
        """Samples per frame; 3200 at the published size."""
        return self._audio.hop_length

    @property
    def latent_size(self) -> int:
        return self._audio.hidden_size

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids [tokens] → embeddings [tokens, hidden]."""
        return self._model.get_input_embeddings()(ids)

    def encode_voice(self, samples: torch.Tensor) -> torch.Tensor:
        """Audio [samples] → mean latents [frames, latent], without per-request noise."""
        frame = self.frame_samples
        padded = torch.nn.functional.pad(samples, (0, -samples.numel() % frame))
        audio = padded.to(self.device, self.dtype)[None, None]
        return self._parts.audio_tower.encoder(audio).latents[0]

    def embed_voices(self, latents: list[torch.Tensor], random: torch.Generator) -> torch.Tensor:
        """Mean latents of voices → embeddings [frames of all voices, hidden].

        Each latent is sampled around its mean, with a deviation that is itself sampled once per
        voice (the tokenizer's "gaussian" sampling).
        """
        longest = max(latent.shape[0] for latent in latents)
        deviation = torch.randn(len(latents), generator=random)
        deviation *= self._audio.vae_std
        # Channels last, like a convolution's output: for a contiguous tensor, torch would draw
        # different numbers, and a seed should give the same result as the published code.
        noise = torch.empty(len(latents), self.latent_size, longest).transpose(1, 2)
        noise.normal_(generator=random)
        drawn = [
            mean + (scale * part[: mean.shape[0]]).to(mean)
            for mean, scale, part in zip(latents, deviation, noise, strict=True)
        ]
        scaled = (torch.cat(drawn) + self._parts.latent_bias_factor) * (
            self._parts.latent_scaling_factor
        )
        return self._parts.multi_modal_projector(scaled)

    def read(
        self, inputs: torch.Tensor, slots: list[int], key_values: KeyValueSlots
    ) -> torch.Tensor:
        """Embeddings [rows, positions, hidden] → hidden states of the same shape."""
        mask, positions = key_values.select(slots, inputs.shape[1])
        return self._parts.language_model(
            inputs_embeds=inputs,
            attention_mask={"full_attention": mask},
            position_ids=positions,
            past_key_values=key_values,
            use_cache=True,
        ).last_hidden_state

    def choose(self, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Hidden states [rows, hidden] → index into `tokens` of the most likely one for each row,
        [rows]."""
        # The whole vocabulary would mean reading 233 million weights for every frame.
        weights = self._model.lm_head.weight.index_select(0, tokens)
        return (hidden @ weights.T).float().argmax(dim=-1)

    def decode(self, latents: torch.Tensor, contexts: ConvolutionSlots) -> torch.Tensor:
        """Latents [rows, latent] → audio [rows, 1, samples], continuing from `contexts`."""
        parts = self._parts
        scaled = latents / parts.latent_scaling_factor - parts.latent_bias_factor
        return parts.audio_tower.decoder(scaled[:, :, None], padding_cache=contexts).audio

    def embed_frames(
        self, latents: torch.Tensor, audio: torch.Tensor, contexts: ConvolutionSlots
    ) -> torch.Tensor:
        """The model's input for generated frames: embeddings [rows, hidden] of their latents
        [rows, latent] and of the semantic features of their audio [rows, 1, samples]."""
        features = self._parts.semantic_tokenizer_encoder(audio, padding_cache=contexts).latents
        return self._parts.multi_modal_projector(latents) + self._parts.semantic_connector(
            features[:, 0]
        )


def load_longform(config: ModelConfig) -> LongformModel:
    """Load the model from a folder in Microsoft's or transformers' layout.

    Raises:
        CheckpointError: the folder does not contain one.
        DeviceUnavailable: the configured device cannot be used.
    """
    folder = Path(config.folder)
    device, dtype = choose_device(config)
    values = read_config(folder)
    if values.get("model_type") != "vibevoice":
        raise CheckpointError(
            f"config.json has model_type {values.get('model_type')!r}; expected 'vibevoice' for a "
            "1.5B model"
        )
    if is_original(values):
        source = {
            "pretrained_model_name_or_path": None,
            "config": VibeVoiceConfig(**longform_config(values)),
            "state_dict": dict(read_original_tensors(folder)),
        }
    elif "text_config" in values:
        source = {"pretrained_model_name_or_path": str(folder), "local_files_only": True}
    else:
        raise CheckpointError("config.json has neither text_config nor decoder_config")
    loaded: Any = VibeVoiceForConditionalGeneration.from_pretrained(
        **source,
        dtype=dtype,
        attn_implementation={"text_config": attention_name(config.attention)},
        output_loading_info=True,
    )
    model, report = loaded
    faults = {
        kind: sorted(map(str, names))[:3]
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if (names := report.get(kind))
    }
    if faults:
        raise CheckpointError(f"The weights do not match the model: {faults}")
    return LongformModel(complete(model, device))


def complete(
    model: VibeVoiceForConditionalGeneration, device: torch.device
) -> VibeVoiceForConditionalGeneration:
    """Prepare a model with loaded weights to speak frame by frame, in place."""
    cast(torch.nn.Module, model).to(device).eval()
    narrow_linears(model)
    fuse(model)
    upsample_by_product(model.model.audio_tower.decoder)
    downsample_by_product(model.model.semantic_tokenizer_encoder)
    return model
