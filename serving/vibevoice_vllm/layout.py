"""Converts tensor names and config from the original VibeVoice-ASR layout to transformers'.

Names and values of the original layout are taken from microsoft/VibeVoice-ASR and transformers'
conversion script (models/vibevoice_asr/convert_vibevoice_asr_to_hf.py).
"""

from typing import Any

_STAGES = range(1, 17)
"""Number of downsampling stages covered here; the published encoders have 6."""


def _prefixes() -> dict[str, str]:
    table = {}
    for kind in ("acoustic", "semantic"):
        original, hf = f"model.{kind}_tokenizer.encoder.", f"{kind}_tokenizer_encoder."
        table[original + "downsample_layers.0.0.conv.conv."] = hf + "stem.conv.conv."
        table[original + "stages.0."] = hf + "stem.stage."
        for stage in _STAGES:
            layer = f"{hf}conv_layers.{stage - 1}."
            table[f"{original}downsample_layers.{stage}.0.conv.conv."] = layer + "conv.conv."
            table[f"{original}stages.{stage}."] = layer + "stage."
        table[original + "head.conv.conv."] = hf + "head.conv."
        for part, name in (("fc1", "linear_1"), ("norm", "norm"), ("fc2", "linear_2")):
            table[f"model.{kind}_connector.{part}."] = f"multi_modal_projector.{kind}_{name}."
    table["model.language_model."] = "language_model.model."
    table["lm_head."] = "language_model.lm_head."
    return table


PREFIXES = _prefixes()
"""Prefixes of tensor names: original → transformers'. No value begins with a key."""
MIXER = ("mixer.conv.conv.conv.", "mixer.conv.")
"""Parts of the names of a block's tensors: original → transformers'."""
VARIANTS = {
    "language_model.model.model.": "language_model.model.",
    "model.acoustic_tokenizer_encoder.": "acoustic_tokenizer_encoder.",
    "model.semantic_tokenizer_encoder.": "semantic_tokenizer_encoder.",
    "model.multi_modal_projector.": "multi_modal_projector.",
}
"""Prefixes that some versions of transformers write → prefixes of the published checkpoint."""
UNUSED = ("model.acoustic_tokenizer.decoder.", "model.semantic_tokenizer.decoder.")
"""Original tensors used only for speech synthesis."""
ENCODER_KEYS = {
    "vae_dim": "hidden_size",
    "encoder_n_filters": "num_filters",
    "layernorm_eps": "rms_norm_eps",
    "channels": "channels",
    "layer_scale_init_value": "layer_scale_init_value",
}
"""Keys of an encoder's config whose values are unchanged: original → transformers'."""


def hf_config(original: dict[str, Any]) -> dict[str, Any]:
    """Convert an original config.json to the values of a `VibeVoiceAsrConfig`.

    It does not contain the ids of the audio tokens: they come from the tokenizer. The standard
    deviation of the acoustic noise is `fix_std / 0.8`, as in the original model.
    """
    acoustic, semantic = (original[f"{kind}_tokenizer_config"] for kind in ("acoustic", "semantic"))
    common = (
        "architectures",
        "torch_dtype",
        "dtype",
        "transformers_version",
        "tie_word_embeddings",
    )
    return {
        **{key: original[key] for key in common if key in original},
        "acoustic_tokenizer_encoder_config": {
            **_hf_encoder(acoustic),
            "vae_std": acoustic.get("fix_std", 0.5) / 0.8,
        },
        "semantic_tokenizer_encoder_config": {**_hf_encoder(semantic), "vae_std": 0.0},
        "text_config": original["decoder_config"],
    }


def _hf_encoder(original: dict[str, Any]) -> dict[str, Any]:
    depths = original["encoder_depths"]
    return {
        "model_type": "vibevoice_acoustic_tokenizer_encoder",
        **{hf: original[key] for key, hf in ENCODER_KEYS.items() if key in original},
        "downsampling_ratios": original["encoder_ratios"][::-1],
        "depths": [int(n) for n in depths.split("-")] if isinstance(depths, str) else depths,
    }
