"""Reads a model's files from disk: config, tensors, tokenizer and voices."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from safetensors import safe_open
from tokenizers import Tokenizer

from vibevoice_tts.engines.layout import hf_name
from vibevoice_tts.models import ModelConfig, ModelUnusable
from vibevoice_tts.voices import voice_files


class CheckpointError(ModelUnusable):
    """A folder does not contain a valid checkpoint; the message says what is wrong."""


def read_config(folder: Path) -> dict[str, Any]:
    """The values of a folder's config.json.

    Raises:
        CheckpointError: config.json is missing, or is not a JSON object.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{folder.name} has no config.json: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{folder.name} has no readable config.json: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"config.json of {folder.name} is not a JSON object")
    return config


def read_tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (name, tensor) for each tensor in a folder's weights, one at a time.

    Raises:
        CheckpointError: the weights file, or a file named by the index, is missing.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        # The index is untrusted: only files in the same folder are opened.
        files = [folder / Path(file).name for file in files]
    else:
        files = [folder / "model.safetensors"]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(f"{folder.name} is missing {', '.join(missing)}")
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            names = tensors.keys()
            for name in names:
                yield name, tensors.get_tensor(name)


def read_original_tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Like `read_tensors`, for a folder in the original layout: with transformers' names, and
    without tensors that no model reads."""
    for original, tensor in read_tensors(folder):
        if (name := hf_name(original)) is not None:
            yield name, tensor


def load_weights(
    model: torch.nn.Module, tensors: Iterator[tuple[str, torch.Tensor]], dtype: torch.dtype
) -> None:
    """Load weights into a model built on the meta device, tensor by tensor, in `dtype`.

    Every tensor must match a name and shape in the model's state, and none may be missing.

    Raises:
        CheckpointError: a tensor is missing, unknown or has the wrong shape.
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
                f"{name} is {tuple(tensor.shape)}, but the config requires {tuple(old.shape)}"
            )
        path, _, leaf = name.rpartition(".")
        parent = model.get_submodule(path)
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
    """The tokenizer in a folder, or if it has none, as in Microsoft's repositories, the one from
    `repository` on the hub. It treats all text literally: nothing becomes a control token.

    Raises:
        CheckpointError: neither tokenizer can be read.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        try:
            path = Path(hf_hub_download(repository, "tokenizer.json"))
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{folder.name} has no tokenizer.json, and the one from {repository} could not be "
                "loaded"
            ) from error
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer


def find_voices(config: ModelConfig, endings: Sequence[str]) -> dict[str, Path]:
    """Name → file of the model's voices; see `vibevoice_tts.voices.voice_files`.

    Raises:
        CheckpointError: the folder contains no voices.
    """
    folder = Path(config.voices)
    files = voice_files(folder, endings)
    if not files:
        raise CheckpointError(
            f"The folder {folder.name} contains no voices ({', '.join(endings)})."
        )
    return files
