"""The plugin's settings, and the model config of the original layout."""

from typing import Any, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from transformers import VibeVoiceAsrConfig

from vibevoice_vllm.layout import hf_config


class PluginSettings(BaseSettings):
    """How the engine takes in audio. Every process of the engine reads the same environment."""

    model_config = SettingsConfigDict(
        env_prefix="VIBEVOICE_",
        env_ignore_empty=True,
        frozen=True,
        use_attribute_docstrings=True,
    )

    engine_audio_seconds: float = Field(default=61 * 60, gt=0)
    """The longest recording taken, seconds."""
    piece_seconds: float = Field(default=30.0, ge=1, le=3660)
    """Audio encoded at once, seconds: between two pieces of a recording other requests decode."""
    pieces_per_step: int = Field(default=4, ge=1)
    """Pieces encoded in one step of the engine, each of another request."""
    encoder_rows: int = Field(default=0, ge=0)
    """Pieces of about equal length encoded in one call (0: 4 on a GPU, 1 on a CPU)."""
    encoder_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the encoders, whatever that of the language model."""
    acoustic_noise: bool = False
    """Sample the acoustic latents as in training. The noise depends on the recording alone."""

    def piece_tokens(self, hop: int, rate: int) -> int:
        """Audio tokens of a piece, for an encoder of `hop` samples a token at `rate` Hz."""
        return max(1, int(self.piece_seconds * rate) // hop)


_PARTS = {"acoustic_tokenizer_config", "semantic_tokenizer_config", "decoder_config"}


class OriginalConfig(VibeVoiceAsrConfig):
    """transformers' config of VibeVoice-ASR, read from the original layout's config.json."""

    model_type = "vibevoice"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """
        Raises:
            ValueError: it is the config of another VibeVoice model.
        """
        if "text_config" not in config_dict:
            if missing := _PARTS - config_dict.keys():
                raise ValueError(f"Expected the config of VibeVoice-ASR: it lacks {missing}.")
            config_dict = hf_config(config_dict)
        return super().from_dict(config_dict, **kwargs)
