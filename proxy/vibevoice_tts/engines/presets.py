"""Voice presets of the Realtime model: what its two decoders computed for a speaker's sample.

Microsoft publishes them as `.pt` files, which are pickles. They are read here by torch's restricted
unpickler, in which two names that the files mention stand for plain containers of ours, so that no
code of a file and no class of transformers runs; anything else in a file is refused. A preset is
then saved as safetensors, named after the content of the file, and read from there the next time.
"""

import collections
import hashlib
import logging
import os
import pickle
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vibevoice_tts.speech_model import SpeechError

MAX_BYTES = 64 * 1024 * 1024
"""Largest preset file that is read; the published ones have 2 to 4.2 MB."""

logger = logging.getLogger(__name__)


class PresetError(SpeechError):
    """A file is not a voice preset of this model; the message names the file without its path."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A voice of the Realtime model.

    The first three are keys and values of every layer, [layers, 2, heads, positions, head size].
    """

    language_model: torch.Tensor
    tts_language_model: torch.Tensor
    negative: torch.Tensor
    """Of the upper decoder without a text; one position."""
    negative_condition: torch.Tensor
    """The last hidden state that goes with `negative`, [hidden]."""


_NAMES = ("language_model", "tts_language_model", "negative", "negative_condition")


def read_preset(path: Path, cache: Path | None) -> Preset:
    """The preset in a `.pt` or `.safetensors` file.

    With a `cache` folder, a `.pt` file is converted once; a folder that cannot be written is
    logged and otherwise ignored.

    Raises:
        PresetError: the file cannot be read, is too large, or holds anything but a preset.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PresetError(f"{path.name} is larger than a voice preset")
        if path.suffix == ".safetensors":
            return _checked(load_file(path), path.name)
        content = path.read_bytes()
    except (OSError, SafetensorError) as error:
        raise PresetError(f"{path.name} cannot be read") from error
    converted = cache and cache / f"{hashlib.sha256(content).hexdigest()}.safetensors"
    if converted and converted.is_file():
        try:
            return _checked(load_file(converted), path.name)
        except (OSError, SafetensorError, PresetError) as error:
            logger.warning("converting voice %s again: %s", converted.name, error)
    preset = _from_pickle(path)
    if converted:
        _save(preset, converted)
    return preset


def save_preset(preset: Preset, path: Path) -> None:
    """Write a preset as safetensors."""
    save_file({name: getattr(preset, name).contiguous() for name in _NAMES}, path)


def _save(preset: Preset, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            pass
        try:
            save_preset(preset, Path(file.name))
            os.replace(file.name, path)
        finally:
            Path(file.name).unlink(missing_ok=True)
    except OSError as error:
        logger.warning("a converted voice is not kept in %s: %s", path.parent, error.strerror)


class _Cache:
    """Stands for transformers' cache classes: the unpickler puts their state into `__dict__`."""


def _outputs(*_: Any) -> dict[str, Any]:
    """Stands for transformers' output classes, which are ordered dictionaries."""
    return collections.OrderedDict()


_STAND_INS = [
    (_outputs, "transformers.modeling_outputs.BaseModelOutputWithPast"),
    (_Cache, "transformers.cache_utils.DynamicCache"),
]


def _from_pickle(path: Path) -> Preset:
    if not zipfile.is_zipfile(path):  # torch's old format, and bare pickles
        raise PresetError(f"{path.name} is not a voice preset")
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    # whatever the unpickler and the reader of the archive raise over a damaged or hostile file
    except (
        *(OSError, EOFError, pickle.UnpicklingError, RuntimeError, zipfile.BadZipFile),
        *(ValueError, LookupError, TypeError, AttributeError),
    ) as error:
        raise PresetError(f"{path.name} is not a voice preset") from error
    try:
        tensors = {
            "language_model": _keys_and_values(content["lm"]),
            "tts_language_model": _keys_and_values(content["tts_lm"]),
            "negative": _keys_and_values(content["neg_tts_lm"]),
            "negative_condition": content["neg_tts_lm"]["last_hidden_state"][0, -1].clone(),
        }
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise PresetError(f"{path.name} lacks a part of a voice preset") from error
    return _checked(tensors, path.name)


def _keys_and_values(output: Mapping[str, Any]) -> torch.Tensor:
    """Keys and values of every layer of a decoder's output, [layers, 2, heads, positions, head
    size]."""
    cache = output["past_key_values"]
    state = cache if isinstance(cache, dict) else vars(cache)
    pairs = zip(state["key_cache"], state["value_cache"], strict=True)
    return torch.stack([torch.stack([keys[0], values[0]]) for keys, values in pairs])


def _checked(tensors: Mapping[str, torch.Tensor], name: str) -> Preset:
    """The preset of these tensors, read from the file `name`; raises PresetError."""
    if set(tensors) != set(_NAMES):
        raise PresetError(f"{name} lacks a part of a voice preset")
    for part, tensor in tensors.items():
        ranks = 1 if part == "negative_condition" else 5
        if tensor.ndim != ranks or not tensor.is_floating_point():
            raise PresetError(f"{part} of {name} has another form than in a voice preset")
        if not torch.isfinite(tensor).all():
            raise PresetError(f"{part} of {name} holds values that are not numbers")
    return Preset(**tensors)
