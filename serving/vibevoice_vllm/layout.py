"""The two published layouts of a VibeVoice-ASR checkpoint, as one table read in both directions.

Names and values of the original layout are those of microsoft/VibeVoice-ASR and of transformers'
conversion script (models/vibevoice_asr/convert_vibevoice_asr_to_hf.py).

`python -m vibevoice_vllm.layout SRC DST` writes a checkpoint of transformers' layout in the
original one: weights in shards with an index, config and preprocessor config, and no tokenizer.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vibevoice_vllm.checkpoint import ORIGINAL

_STAGES = range(1, 17)
"""Downsampling stages named here; the published encoders have 6."""


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
"""Beginnings of tensor names: original → transformers'. No value begins with a key."""
MIXER = ("mixer.conv.conv.conv.", "mixer.conv.")
"""Inside the name of a block's tensor: original, transformers'."""
VARIANTS = {
    "language_model.model.model.": "language_model.model.",
    "model.acoustic_tokenizer_encoder.": "acoustic_tokenizer_encoder.",
    "model.semantic_tokenizer_encoder.": "semantic_tokenizer_encoder.",
    "model.multi_modal_projector.": "multi_modal_projector.",
}
"""Beginnings as some versions of transformers write them → those of the published checkpoint."""
UNUSED = ("model.acoustic_tokenizer.decoder.", "model.semantic_tokenizer.decoder.")
"""Original tensors that serve speech synthesis only."""


def original_name(name: str) -> str:
    """The original name of a tensor of transformers' layout.

    Raises:
        KeyError: no tensor of a VibeVoice-ASR begins so.
    """
    for variant, hf in VARIANTS.items():
        if name.startswith(variant):
            name = hf + name.removeprefix(variant)
    for original, hf in PREFIXES.items():
        if name.startswith(hf):
            return (original + name.removeprefix(hf)).replace(MIXER[1], MIXER[0])
    raise KeyError(name)


def hf_config(original: dict[str, Any]) -> dict[str, Any]:
    """The values of a `VibeVoiceAsrConfig` from those of an original config.json.

    The ids of the audio tokens are not in there: they come from the tokenizer. The deviation of
    the acoustic noise is `fix_std / 0.8`, as the original model samples it.
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


_ENCODER = {
    "vae_dim": "hidden_size",
    "encoder_n_filters": "num_filters",
    "layernorm_eps": "rms_norm_eps",
    "channels": "channels",
    "layer_scale_init_value": "layer_scale_init_value",
}


def _hf_encoder(original: dict[str, Any]) -> dict[str, Any]:
    depths = original["encoder_depths"]
    return {
        "model_type": "vibevoice_acoustic_tokenizer_encoder",
        **{hf: original[key] for key, hf in _ENCODER.items() if key in original},
        "downsampling_ratios": original["encoder_ratios"][::-1],
        "depths": [int(n) for n in depths.split("-")] if isinstance(depths, str) else depths,
    }


def _original_encoder(hf: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        **{key: hf[name] for key, name in _ENCODER.items() if name in hf},
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


def original_config(hf: dict[str, Any]) -> dict[str, Any]:
    """An original config.json from that of a checkpoint in transformers' layout."""
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


_PREPROCESSOR = {
    "processor_class": "VibeVoiceASRProcessor",
    "speech_tok_compress_ratio": 3200,
    "target_sample_rate": 24000,
    "normalize_audio": True,
    "target_dB_FS": -25,
    "eps": 1e-6,
}


def export_original(source: Path, destination: Path, shards: int = 2) -> None:
    """Write the checkpoint in `source` (transformers' layout) in the original layout.

    Raises:
        KeyError: `source` holds a tensor that no VibeVoice-ASR has.
        OSError: a file cannot be read or written.
    """
    from safetensors.torch import load_file, save_file

    tensors = {}
    for path in sorted(source.glob("*.safetensors")):
        tensors |= {original_name(name): tensor for name, tensor in load_file(path).items()}
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    destination.mkdir(parents=True, exist_ok=True)
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate(_split(names, shards), 1):
        file = f"model-{number:05d}-of-{shards:05d}.safetensors"
        save_file({name: tensors[name] for name in part}, destination / file, {"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    size = sum(tensor.nbytes for tensor in tensors.values())
    _write(destination / "config.json", original_config(config))
    _write(destination / "preprocessor_config.json", _PREPROCESSOR)
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    _write(destination / "model.safetensors.index.json", index)


def _split(names: list[str], parts: int) -> Iterable[list[str]]:
    step = -(-len(names) // parts)
    return (names[i : i + step] for i in range(0, len(names), step))


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, metavar="SRC", help="folder in transformers' layout")
    parser.add_argument("destination", type=Path, metavar="DST", help="folder to write")
    args = parser.parse_args()
    export_original(args.source, args.destination)


if __name__ == "__main__":
    main()
