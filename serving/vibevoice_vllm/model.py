"""VibeVoice-ASR as a vLLM model: transformers' audio encoders and vLLM's Qwen2."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers import AutoModel
from transformers.models.vibevoice_asr.modeling_vibevoice_asr import (
    VibeVoiceAsrMultiModalProjector,
)
from vllm.config import VllmConfig
from vllm.model_executor.models.interfaces import (
    MultiModalEmbeddings,
    SupportsLoRA,
    SupportsMultiModal,
    SupportsPP,
)
from vllm.model_executor.models.module_mapping import MultiModelKeys
from vllm.model_executor.models.utils import (
    AutoWeightsLoader,
    WeightsMapper,
    init_vllm_registered_model,
    maybe_prefix,
)
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.sequence import IntermediateTensors
from vllm.utils.torch_utils import set_default_torch_dtype

from vibevoice_vllm.encoder import arranged, batches, context_tokens, encode, noise, stacked
from vibevoice_vllm.layout import MIXER, PREFIXES, UNUSED, VARIANTS
from vibevoice_vllm.processor import PLACEHOLDER, DummyInputs, ProcessingInfo, Processor
from vibevoice_vllm.settings import PluginSettings
from vibevoice_vllm.transcription import VibeVoiceTranscription


@MULTIMODAL_REGISTRY.register_processor(Processor, info=ProcessingInfo, dummy_inputs=DummyInputs)
class VibeVoiceForASR(
    nn.Module, SupportsMultiModal, SupportsPP, SupportsLoRA, VibeVoiceTranscription
):
    """Serves both published layouts. Parallelism, quantization, and LoRA affect the language model
    only."""

    packed_modules_mapping = {
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "gate_up_proj": ["gate_proj", "up_proj"],
    }
    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_substr=dict([MIXER]),
        orig_to_new_prefix={**dict.fromkeys(UNUSED), **PREFIXES, **VARIANTS},
    )

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        return PLACEHOLDER if modality.startswith("audio") else None

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        if torch.get_float32_matmul_precision() == "highest":
            # Torch defaults to TF32 for convolutions, whatever the setting for matrix products.
            torch.backends.cudnn.allow_tf32 = False
        config: Any = vllm_config.model_config.hf_config
        settings = PluginSettings()
        self.config = config
        encoders = (
            config.acoustic_tokenizer_encoder_config,
            config.semantic_tokenizer_encoder_config,
        )
        self._hop = encoders[0].hop_length
        self._window = settings.window_tokens(self._hop)
        self._context = context_tokens(self._hop, *encoders)
        self._encoder_dtype: torch.dtype = getattr(torch, settings.encoder_dtype)
        self._noise_std = encoders[0].vae_std if settings.acoustic_noise else 0.0
        with self._mark_tower_model(vllm_config, "audio"):
            with set_default_torch_dtype(self._encoder_dtype):
                self.acoustic_tokenizer_encoder, self.semantic_tokenizer_encoder = (
                    arranged(AutoModel.from_config(encoder, dtype=self._encoder_dtype))
                    for encoder in encoders
                )
            self.multi_modal_projector = VibeVoiceAsrMultiModalProjector(config)
        with self._mark_language_model(vllm_config):
            self.language_model: Any = init_vllm_registered_model(
                vllm_config=vllm_config,
                hf_config=config.text_config,
                prefix=maybe_prefix(prefix, "language_model"),
                architectures=["Qwen2ForCausalLM"],
            )
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors

    def embed_multimodal(self, **kwargs: Any) -> MultiModalEmbeddings:
        """Encode windows of one or more recordings into one (tokens, hidden size) tensor each.

        Args:
            kwargs: `audio`, windows with their context, (samples,) float32 each; `tokens`
                (windows,), number of tokens at the end of each that belong to the window itself;
                `seed` (windows,), seeds of the acoustic noise.
        """
        audio, tokens, seed = kwargs["audio"], kwargs["tokens"], kwargs["seed"]
        lengths = [len(window) // self._hop for window in audio]
        embeddings: list[torch.Tensor] = [torch.empty(0)] * len(lengths)
        for length, batch in batches(lengths, self._window, self._context):
            windows = stacked([audio[i] for i in batch], length * self._hop, self._encoder_dtype)
            acoustic = encode(self.acoustic_tokenizer_encoder, windows)
            semantic = encode(self.semantic_tokenizer_encoder, windows)
            for i, a, s in zip(batch, acoustic, semantic, strict=True):
                own = slice(lengths[i] - int(tokens[i]), lengths[i])
                embeddings[i] = self._project(a[own], s[own], int(seed[i]))
        return embeddings

    def _project(self, acoustic: torch.Tensor, semantic: torch.Tensor, seed: int) -> torch.Tensor:
        if self._noise_std:
            acoustic = acoustic + noise(acoustic, self._noise_std, seed)
        dtype = self.multi_modal_projector.acoustic_linear_1.weight.dtype
        return self.multi_modal_projector(acoustic.to(dtype), semantic.to(dtype))

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **_: object,
    ) -> torch.Tensor | IntermediateTensors:
        if intermediate_tensors is not None:
            inputs_embeds = None
        return self.language_model.model(
            input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds
        )

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        return self.language_model.compute_logits(hidden_states)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        return AutoWeightsLoader(self).load_weights(weights, mapper=self.hf_to_vllm_mapper)

    def get_mm_mapping(self) -> MultiModelKeys:
        return MultiModelKeys.from_string_field(
            language_model="language_model",
            connector="multi_modal_projector",
            tower_model=["acoustic_tokenizer_encoder", "semantic_tokenizer_encoder"],
        )
