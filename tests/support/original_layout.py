"""Converts a checkpoint from transformers' layout to that of microsoft/VibeVoice-ASR: sharded
weights with an index, config and preprocessor config, but no tokenizer."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from vibevoice_vllm.checkpoint import ORIGINAL
from vibevoice_vllm.layout import ENCODER_KEYS, MIXER, PREFIXES, VARIANTS

SHARDS = 2
_PREPROCESSOR = {
    "processor_class": "VibeVoiceASRProcessor",
    "speech_tok_compress_ratio": 3200,
    "target_sample_rate": 24000,
    "normalize_audio": True,
    "target_dB_FS": -25,
    "eps": 1e-6,
}


def original_name(name: str) -> str:
    """The original name of a tensor of transformers' layout.

    Raises:
        KeyError: no tensor of VibeVoice-ASR begins like this.
    """
    for variant, hf in VARIANTS.items():
        if name.startswith(variant):
            name = hf + name.removeprefix(variant)
    for original, hf in PREFIXES.items():
        if name.startswith(hf):
            return (original + name.removeprefix(hf)).replace(MIXER[1], MIXER[0])
    raise KeyError(name)


def original_config(hf: dict[str, Any]) -> dict[str, Any]:
    """An original config.json, converted from a checkpoint in transformers' layout."""
    text = {k: v for k, v in hf["text_config"].items() if k not in ("rope_parameters", "dtype")}
    text["rope_theta"] = hf["text_config"]["rope_parameters"]["rope_theta"]
    acoustic = hf["acoustic_tokenizer_encoder_config"]
    semantic = hf["semantic_tokenizer_encoder_config"]
    return {
        "architectures": [ORIGINAL],
        "model_type": "vibevoice",
        "torch_dtype": hf.get("dtype", "bfloat16"),
        "acoustic_vae_dim": acoustic["hidden_size"],
        "semantic_vae_dim": semantic["hidden_size"],
        "acoustic_tokenizer_config": _original_encoder(acoustic, "acoustic"),
        "semantic_tokenizer_config": _original_encoder(semantic, "semantic"),
        "decoder_config": text,
    }


def _original_encoder(hf: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        **{key: hf[name] for key, name in ENCODER_KEYS.items() if name in hf},
        "model_type": f"vibevoice_{kind}_tokenizer",
        "encoder_ratios": list(hf["downsampling_ratios"])[::-1],
        "encoder_depths": "-".join(str(n) for n in hf["depths"]),
        "fix_std": hf["vae_std"] * 0.8 if kind == "acoustic" else 0,
        "std_dist_type": "gaussian" if kind == "acoustic" else "none",
        "causal": True,
        "conv_bias": True,
        "conv_norm": "none",
        "disable_last_norm": True,
        "layernorm": "RMSNorm",
        "layernorm_elementwise_affine": True,
        "mixer_layer": "depthwise_conv",
        "pad_mode": "constant",
    }


def export_original(source: Path, destination: Path) -> None:
    """Write the checkpoint in `source` (transformers' layout) to the folder `destination`.

    Raises:
        KeyError: `source` contains a tensor that VibeVoice-ASR does not have.
        OSError: a file cannot be read or written.
    """
    tensors = {}
    for path in sorted(source.glob("*.safetensors")):
        tensors |= {original_name(name): tensor for name, tensor in load_file(path).items()}
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    destination.mkdir(parents=True, exist_ok=True)
    names = sorted(tensors)
    step = -(-len(names) // SHARDS)
    weight_map = {}
    for number in range(SHARDS):
        part = names[number * step : (number + 1) * step]
        file = f"model-{number + 1:05d}-of-{SHARDS:05d}.safetensors"
        save_file({name: tensors[name] for name in part}, destination / file, {"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    size = sum(tensor.nbytes for tensor in tensors.values())
    _write(destination / "config.json", original_config(config))
    _write(destination / "preprocessor_config.json", _PREPROCESSOR)
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    _write(destination / "model.safetensors.index.json", index)


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
