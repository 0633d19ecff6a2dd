"""Maps the tensor names and config values of published VibeVoice TTS checkpoints.

Microsoft's repositories use the *original* layout; community conversions use transformers' own
(*HF*). Both say `"model_type": "vibevoice"` in config.json, and recent versions of transformers
silently read an original config and build a model with default sizes. So this module detects the
layout by `text_config`, which only the HF layout has. Rules and values were checked against
transformers' `models/vibevoice` and microsoft/VibeVoice at e73d1e1: they map every tensor of both.
"""

import re
from collections.abc import Callable
from typing import Any


def _earlier(pattern: str) -> Callable[[re.Match[str]], str]:
    """A replacement in which {n} is the matched number minus 1: transformers' stem is number 0."""
    return lambda match: pattern.format(n=int(match[1]) - 1)


_RULES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^model\.acoustic_tokenizer\.", "model.audio_tower."),
    (r"^model\.semantic_tokenizer\.encoder\.", "model.semantic_tokenizer_encoder."),
    (r"\.(?:down|up)sample_layers\.0\.0\.conv\.conv\.", ".stem.conv.conv."),
    (r"\.downsample_layers\.(\d+)\.0\.conv\.conv\.", _earlier(".conv_layers.{n}.conv.conv.")),
    (
        r"\.upsample_layers\.(\d+)\.0\.convtr\.convtr\.",
        _earlier(".conv_layers.{n}.convtr.convtr."),
    ),
    (r"\.stages\.0\.", ".stem.stage."),
    (r"\.stages\.(\d+)\.", _earlier(".conv_layers.{n}.stage.")),
    (r"\.mixer\.conv\.conv\.conv\.", ".mixer.conv."),
    (r"\.head\.conv\.conv\.", ".head.conv."),
    (r"^model\.prediction_head\.", "model.diffusion_head."),
    (r"\.t_embedder\.mlp\.0\.", ".timestep_proj.fc1."),
    (r"\.t_embedder\.mlp\.2\.", ".timestep_proj.fc2."),
    (r"\.final_layer\.adaLN_modulation\.1\.", ".final_layer.linear_1."),
    (r"\.final_layer\.linear\.", ".final_layer.linear_2."),
    (r"\.adaLN_modulation\.1\.", ".linear."),
    (r"^model\.acoustic_connector\.", "model.multi_modal_projector."),
    (r"(projector|connector)\.fc1\.", r"\1.linear_1."),
    (r"(projector|connector)\.norm\.", r"\1.act."),
    (r"(projector|connector)\.fc2\.", r"\1.linear_2."),
    (r"^model\.speech_(scaling|bias)_factor$", r"model.latent_\1_factor"),
)
"""Original tensor names → those of transformers, applied in this order."""

_UNUSED = (
    # stored with the upper half of the Realtime model but never read
    "model.tts_language_model.embed_tokens.",
    # speech is never reconstructed from semantic features
    "model.semantic_tokenizer.decoder.",
)


def hf_name(original: str) -> str | None:
    """transformers' name for a tensor of an original checkpoint; None if no model reads it."""
    if original.startswith(_UNUSED):
        return None
    name = original
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    return name


def is_original(config: dict[str, Any]) -> bool:
    """Whether a config.json has the original layout, judging by the names of its sub-configs."""
    return "decoder_config" in config and "text_config" not in config


def tokenizer_config(original: dict[str, Any]) -> dict[str, Any]:
    """Values of a `VibeVoiceAcousticTokenizerConfig` from an original tokenizer's config.

    The original lists depths in encoder order and ratios in decoder order.
    `vae_std` is `fix_std / 0.8`, as the original model samples it.
    """
    depths = original["encoder_depths"]
    return {
        "channels": original.get("channels", 1),
        "hidden_size": original["vae_dim"],
        "num_filters": original["encoder_n_filters"],
        "downsampling_ratios": list(original["encoder_ratios"])[::-1],
        "depths": [int(n) for n in depths.split("-")] if isinstance(depths, str) else list(depths),
        "rms_norm_eps": original.get("layernorm_eps", 1e-5),
        "layer_scale_init_value": original.get("layer_scale_init_value", 1e-6),
        "vae_std": original.get("fix_std", 0.5) / 0.8,
    }


def head_config(original: dict[str, Any]) -> dict[str, Any]:
    """Values of a `VibeVoiceDiffusionHeadConfig` from an original head's config."""
    hidden = original["hidden_size"]
    return {
        "hidden_size": hidden,
        "latent_size": original["latent_size"],
        "num_hidden_layers": original["head_layers"],
        "intermediate_size": int(hidden * original["head_ffn_ratio"]),
        "rms_norm_eps": original["rms_norm_eps"],
    }


def longform_config(original: dict[str, Any]) -> dict[str, Any]:
    """Values of a `VibeVoiceConfig` from an original 1.5B or 7B config.json."""
    semantic = tokenizer_config(original["semantic_tokenizer_config"])
    return {
        "audio_config": tokenizer_config(original["acoustic_tokenizer_config"]),
        "semantic_model_config": {
            **semantic,
            "model_type": "vibevoice_acoustic_tokenizer_encoder",
            "vae_std": 0.0,
        },
        "text_config": dict(original["decoder_config"]),
        "diffusion_head_config": head_config(original["diffusion_head_config"]),
    }
