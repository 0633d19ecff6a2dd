"""Turns the audio of a vLLM request into windows, before the model sees it.

A request has one recording, and one `<|AUDIO|>` in its prompt. vLLM's limits, counts, and caller
ids apply to the recording. For the scheduler and the encoder, it becomes many multimodal items, one
per window, with adjacent placeholders between one start and one end token.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from vllm.config.multimodal import MultiModalDummyOptions
from vllm.inputs import MultiModalDataDict
from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems
from vllm.multimodal.parse import (
    AudioProcessorItems,
    ModalityDataItems,
    MultiModalDataItems,
    MultiModalDataParser,
    ProcessorBatchItems,
)
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
    PromptUpdate,
)
from vllm.multimodal.processing.inputs import ProcessorInputs
from vllm.multimodal.processing.processor import PlaceholderFeaturesInfo

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_vllm.audio import Window, check, cut, normalize
from vibevoice_vllm.encoder import context_tokens
from vibevoice_vllm.settings import PluginSettings

PLACEHOLDER = "<|AUDIO|>"
"""The chat template puts this where the audio belongs."""


class Windows(ProcessorBatchItems[Window]):
    """The windows of one recording as vLLM's multimodal items."""

    def __init__(self, windows: Sequence[Window]) -> None:
        super().__init__(windows, "audio")

    def get_item_for_hash(self, index: int) -> Any:
        return vars(self.data[index])


class RecordingParser(MultiModalDataParser):
    """Parses a request's audio: one recording to float32 mono at 24 kHz; windows are unchanged."""

    def __init__(self, max_seconds: float) -> None:
        super().__init__(target_sr=SAMPLE_RATE, target_channels=1, audio_resample_method="soxr")
        self._max_seconds = max_seconds

    def _parse_audio_data(self, data: Any) -> ModalityDataItems[Any, Any] | None:
        """
        Raises:
            ValueError: the input is embeddings, has no recording, or cannot be transcribed.
        """
        if isinstance(data, list) and data and isinstance(data[0], Window):
            return Windows(data)
        if self.is_embeddings(data) or isinstance(data, dict):
            raise ValueError("Audio embeddings are not supported: expected a recording.")
        items = super()._parse_audio_data(data)
        if items is None:
            return None
        recordings = []
        for samples in items.get_all():
            if samples is None:
                raise ValueError("Audio given only by id is not supported: expected a recording.")
            samples = np.asarray(samples, dtype=np.float32)
            check(samples, self._max_seconds)
            recordings.append(samples)
        return AudioProcessorItems(recordings)


class ProcessingInfo(BaseProcessingInfo):
    """Sizes and token ids of the served checkpoint."""

    @cached_property
    def settings(self) -> PluginSettings:
        return PluginSettings()

    @cached_property
    def hop(self) -> int:
        """Samples per token."""
        return self.get_hf_config().acoustic_tokenizer_encoder_config.hop_length

    @cached_property
    def window_tokens(self) -> int:
        return self.settings.window_tokens(self.hop)

    @cached_property
    def context_tokens(self) -> int:
        config = self.get_hf_config()
        return context_tokens(
            self.hop,
            config.acoustic_tokenizer_encoder_config,
            config.semantic_tokenizer_encoder_config,
        )

    def token_id(self, token: str) -> int:
        return self.get_tokenizer().get_vocab()[token]

    def get_data_parser(self) -> MultiModalDataParser:
        return RecordingParser(self.settings.engine_audio_seconds)

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return {"audio": 1}

    def get_mm_max_tokens_per_item(
        self, seq_len: int, mm_counts: Mapping[str, int]
    ) -> Mapping[str, int]:
        return {"audio": self.window_tokens}


class DummyInputs(BaseDummyInputsBuilder[ProcessingInfo]):
    """The audio with which vLLM measures memory: one whole window with its context."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        return PLACEHOLDER * mm_counts.get("audio", 0)

    def get_dummy_mm_data(
        self,
        seq_len: int,
        mm_counts: Mapping[str, int],
        mm_options: MultiModalDummyOptions,
    ) -> MultiModalDataDict:
        tokens = self.info.context_tokens + self.info.window_tokens
        samples = np.zeros(tokens * self.info.hop, np.float32)
        window: Any = Window(samples, self.info.window_tokens, seed=0)
        return {"audio": [window] * mm_counts.get("audio", 0)}


class Processor(BaseMultiModalProcessor[ProcessingInfo]):
    def apply(self, inputs: ProcessorInputs, timing_ctx: Any) -> Any:
        """Cut the recording into windows, which vLLM then handles as items.

        The recording is identified by its content, not by an id from the caller: with an id, a
        caller could request another caller's audio.
        """
        items = inputs.mm_data_items["audio"]
        windows = items.get_all() if isinstance(items, Windows) else self._cut(items.get_all())
        items = MultiModalDataItems({"audio": Windows(windows)})
        inputs = dataclasses.replace(inputs, mm_data_items=items, mm_uuid_items=None)
        return super().apply(inputs, timing_ctx)

    def _cut(self, recordings: Sequence[np.ndarray]) -> list[Window]:
        info = self.info
        return [
            window
            for samples in recordings
            for window in cut(
                normalize(samples, info.hop), info.hop, info.window_tokens, info.context_tokens
            )
        ]

    def _apply_hf_processor_main(
        self, mm_items: MultiModalDataItems, hf_kwargs: Mapping[str, object]
    ) -> BatchFeature:
        # Bypasses vLLM's call of the HF processor, which would cast audio to the model's dtype.
        windows: list[Window] = mm_items["audio"].get_all() if "audio" in mm_items else []
        return BatchFeature(
            {
                "audio": [torch.from_numpy(window.samples) for window in windows],
                "tokens": torch.tensor([window.tokens for window in windows], dtype=torch.int64),
                "seed": torch.tensor([window.seed for window in windows], dtype=torch.int64),
            }
        )

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        return {
            "audio": MultiModalFieldConfig.batched("audio"),
            "tokens": MultiModalFieldConfig.batched("audio", keep_on_cpu=True),
            "seed": MultiModalFieldConfig.batched("audio", keep_on_cpu=True),
        }

    def _get_prompt_updates(
        self,
        mm_items: MultiModalDataItems,
        hf_processor_mm_kwargs: Mapping[str, Any],
        out_mm_kwargs: MultiModalKwargsItems,
    ) -> Sequence[PromptUpdate]:
        windows: list[Window] = mm_items["audio"].get_all() if "audio" in mm_items else []
        audio = self.info.token_id("<|box_start|>")
        return [
            PromptReplacement(
                modality="audio",
                target=[self.info.token_id(PLACEHOLDER)],
                replacement=lambda index: [audio] * windows[index].tokens,
            )
        ]

    def _apply_prompt_updates(
        self, token_ids: list[int], mm_prompt_updates: Mapping[str, Any]
    ) -> tuple[list[int], Mapping[str, list[PlaceholderFeaturesInfo]]]:
        """Replace the one placeholder with those of all windows.

        Raises:
            ValueError: the prompt has no placeholder, or more than one.
        """
        placeholder = self.info.token_id(PLACEHOLDER)
        if (found := token_ids.count(placeholder)) != 1:
            raise ValueError(f"Expected {PLACEHOLDER} once in a prompt with audio, found {found}.")
        at = token_ids.index(placeholder)
        prompt = [*token_ids[:at], self.info.token_id("<|object_ref_start|>")]
        features = []
        for index, updates in enumerate(mm_prompt_updates["audio"]):
            tokens = updates[0].content.full
            features.append(PlaceholderFeaturesInfo("audio", index, len(prompt), tokens, None))
            prompt += tokens
        prompt += [self.info.token_id("<|object_ref_end|>"), *token_ids[at + 1 :]]
        return prompt, {"audio": features}
