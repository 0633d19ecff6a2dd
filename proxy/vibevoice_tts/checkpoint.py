"""Published checkpoints of VibeVoice TTS models: config values and tensor names, read from disk.

Microsoft's repositories use the *original* layout, community conversions transformers' own (*HF*).
Both say `"model_type": "vibevoice"` in config.json, and a recent transformers reads an original
config without complaint and builds a model with default sizes from it; so the layout is told here
by `text_config`, which only the HF one has. Rules and values are checked against transformers'
`models/vibevoice` and microsoft/VibeVoice at e73d1e1: every tensor of either model has its place.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from safetensors import safe_open
from tokenizers import Tokenizer


class CheckpointError(Exception):
    """The folder does not hold the checkpoint that it should; the message says what is amiss."""


def _earlier(pattern: str) -> Callable[[re.Match[str]], str]:
    """A replacement in which {n} is the matched number less one: our stems take number 0."""
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
    # the embedding of the upper half of the Realtime model is stored but never read
    "model.tts_language_model.embed_tokens.",
    # speech is never rebuilt from semantic features
    "model.semantic_tokenizer.decoder.",
)


def hf_name(original: str) -> str | None:
    """transformers' name of a tensor of an original checkpoint; None if no model reads it."""
    if original.startswith(_UNUSED):
        return None
    name = original
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    return name


def read_config(folder: Path) -> dict[str, Any]:
    """The values of a folder's config.json.

    Raises:
        CheckpointError: there is none, or it is not a JSON object.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder.name} has no readable config.json: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"config.json of {folder.name} is not a JSON object")
    return config


def is_original(config: dict[str, Any]) -> bool:
    """Whether a config.json is of the original layout; the sub-config names tell."""
    return "decoder_config" in config and "text_config" not in config


def tokenizer_config(original: dict[str, Any]) -> dict[str, Any]:
    """Values of a `VibeVoiceAcousticTokenizerConfig` from an original tokenizer's config.

    The depths are listed from the encoder's side, and the ratios from the decoder's side.
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


def full_config(original: dict[str, Any]) -> dict[str, Any]:
    """Values of a `VibeVoiceConfig` from those of an original 1.5B or 7B config.json."""
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


def read_tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of everything in a folder's weights, one at a time.

    Raises:
        CheckpointError: the file is not there, or one that the index names.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        # an index is data from elsewhere: its files are looked up beside it and nowhere else
        files = [folder / Path(file).name for file in files]
    else:
        files = [folder / "model.safetensors"]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(f"{folder.name} lacks {', '.join(missing)}")
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (no iteration over the file itself)
                yield name, tensors.get_tensor(name)


def load_weights(
    model: torch.nn.Module, tensors: Iterator[tuple[str, torch.Tensor]], dtype: torch.dtype
) -> None:
    """Give a model built on the meta device its weights, tensor by tensor, in `dtype`.

    Names must fit exactly.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape.
    """
    wanted = dict(model.state_dict(keep_vars=True))
    unknown = []
    for name, tensor in tensors:
        old = wanted.pop(name, None)
        if old is None:
            unknown.append(name)
            continue
        if old.shape != tensor.shape:
            raise CheckpointError(
                f"{name} is {tuple(tensor.shape)}, and the config asks for {tuple(old.shape)}"
            )
        parent = model.get_submodule(name.rpartition(".")[0])
        leaf = name.rpartition(".")[2]
        if leaf in parent._parameters:
            parent._parameters[leaf] = torch.nn.Parameter(tensor.to(dtype), requires_grad=False)
        else:
            parent._buffers[leaf] = tensor.to(dtype)
    missing = sorted(wanted)
    if missing or unknown:
        raise CheckpointError(
            f"{len(missing)} tensors missing ({', '.join(missing[:3])}), "
            f"{len(unknown)} unknown ({', '.join(unknown[:3])})"
        )


def read_tokenizer(folder: Path, repository: str) -> Tokenizer:
    """The tokenizer of a folder, or where it has none, as in Microsoft's repositories, that of the
    hub's `repository`. It takes all text literally: none of it becomes a control token.

    Raises:
        CheckpointError: neither is there.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        try:
            path = Path(hf_hub_download(repository, "tokenizer.json"))
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{folder.name} has no tokenizer.json, and that of {repository} cannot be had"
            ) from error
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer


def place(device: str, dtype: str) -> tuple[torch.device, torch.dtype]:
    """Where a model runs and in which type: `device` is cuda, mps, cpu or empty for the best there
    is; `dtype` is float16, bfloat16, float32 or auto (bfloat16 on cuda, else float32).

    Raises:
        CheckpointError: there is no such device or type.
    """
    if not device:
        best = torch.accelerator.current_accelerator(check_available=True)
        device = best.type if best is not None else "cpu"
    if dtype == "auto":
        dtype = "bfloat16" if device.startswith("cuda") else "float32"
    if dtype not in ("float16", "bfloat16", "float32"):
        raise CheckpointError(f"{dtype!r} is no type to load a model in")
    try:
        return torch.device(device), getattr(torch, dtype)
    except RuntimeError as error:
        raise CheckpointError(f"{device!r} is no device") from error
