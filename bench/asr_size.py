"""The published sizes of VibeVoice-ASR, in both layouts."""

from typing import Any, Literal

from vibevoice_vllm.checkpoint import ORIGINAL

Layout = Literal["original", "hf"]
LAYOUTS: tuple[Layout, ...] = ("original", "hf")
_TOKENIZER = {
    "channels": 1,
    "encoder_depths": "3-3-3-3-3-3-8",
    "encoder_n_filters": 32,
    "encoder_ratios": [8, 5, 5, 4, 2, 2],
    "layer_scale_init_value": 1e-06,
    "layernorm_eps": 1e-05,
}
SIZE: dict[str, Any] = {
    "architectures": [ORIGINAL],
    "model_type": "vibevoice",
    "dtype": "float32",
    "transformers_version": "4.57.6",
    "acoustic_vae_dim": 64,
    "semantic_vae_dim": 128,
    "acoustic_tokenizer_config": {
        **_TOKENIZER,
        "model_type": "vibevoice_acoustic_tokenizer",
        "vae_dim": 64,
        "fix_std": 0.5,
    },
    "semantic_tokenizer_config": {
        **_TOKENIZER,
        "model_type": "vibevoice_semantic_tokenizer",
        "vae_dim": 128,
        "fix_std": 0,
    },
    "decoder_config": {
        "model_type": "qwen2",
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "use_sliding_window": False,
    },
}
"""The values in the config.json of microsoft/VibeVoice-ASR; its weights are bfloat16, whatever
`dtype` says."""


def size(layers: int = 0) -> dict[str, Any]:
    """The original config.json with `layers` language model layers; 0 keeps all."""
    text = SIZE["decoder_config"]
    text = {**text, "num_hidden_layers": layers or text["num_hidden_layers"]}
    return {**SIZE, "decoder_config": text}
