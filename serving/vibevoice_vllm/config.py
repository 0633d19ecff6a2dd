"""Makes the original layout's model config readable by transformers."""

from typing import Any

from transformers import VibeVoiceAsrConfig

from vibevoice_vllm.layout import hf_config

_PARTS = {"acoustic_tokenizer_config", "semantic_tokenizer_config", "decoder_config"}


class OriginalConfig(VibeVoiceAsrConfig):
    """transformers' config of VibeVoice-ASR, read from the original layout's config.json."""

    model_type = "vibevoice"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """
        Raises:
            ValueError: the config belongs to another VibeVoice model.
        """
        if "text_config" not in config_dict:
            if missing := _PARTS - config_dict.keys():
                raise ValueError(f"Expected the config of VibeVoice-ASR: it lacks {missing}.")
            config_dict = hf_config(config_dict)
        return super().from_dict(config_dict, **kwargs)
