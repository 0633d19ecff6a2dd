"""Voice presets of the Realtime model: the state of its two decoders for a speaker's sample.

Microsoft publishes them as `.pt` files, which are pickles. This module reads them with torch's
restricted unpickler and maps the two names that the files reference to plain containers, so that
no code from a file and no class of transformers runs; any other name is rejected. A preset is then
saved as safetensors, named after a hash of the file, and loaded from there the next time.
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
"""Maximum size of a preset file; the published ones have 2 to 4.2 MB."""

logger = logging.getLogger(__name__)


class PresetError(SpeechError):
    """A file is not a valid preset for this model; the message names the file without its path."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A voice of the Realtime model.

    The first three are the keys and values of all layers, [layers, 2, heads, positions, head size].
    """

    language_model: torch.Tensor
    tts_language_model: torch.Tensor
    negative: torch.Tensor
    """Keys and values of the upper decoder without text; one position."""
    negative_condition: torch.Tensor
    """The last hidden state for `negative`, [hidden]."""


_NAMES = ("language_model", "tts_language_model", "negative", "negative_condition")


def read_preset(path: Path, cache: Path | None) -> Preset:
    """Read the preset in a `.pt` or `.safetensors` file.

    With a `cache` folder, a `.pt` file is converted only once; if the folder is not writable, this
    is logged and otherwise ignored.

    Raises:
        PresetError: the file cannot be read, is too large, or is not a valid preset.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PresetError(f"{path.name} is too large for a voice preset")
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
        logger.warning("cannot save a converted voice in %s: %s", path.parent, error.strerror)


class _Cache:
    """Replaces transformers' cache classes; the unpickler stores their state in `__dict__`."""


def _outputs(*_: Any) -> dict[str, Any]:
    """Replaces transformers' output classes, which are ordered dictionaries."""
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
    # All errors that the unpickler and the archive reader raise for a damaged or hostile file.
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
        raise PresetError(f"{path.name} is missing part of a voice preset") from error
    return _checked(tensors, path.name)


def _keys_and_values(output: Mapping[str, Any]) -> torch.Tensor:
    """Keys and values of every layer of a decoder's output, [layers, 2, heads, positions, head
    size]."""
    cache = output["past_key_values"]
    state = cache if isinstance(cache, dict) else vars(cache)
    pairs = zip(state["key_cache"], state["value_cache"], strict=True)
    return torch.stack([torch.stack([keys[0], values[0]]) for keys, values in pairs])


def _checked(tensors: Mapping[str, torch.Tensor], name: str) -> Preset:
    """Check tensors read from the file `name` and build a preset; raises PresetError."""
    if set(tensors) != set(_NAMES):
        raise PresetError(f"{name} is missing part of a voice preset")
    for part, tensor in tensors.items():
        ranks = 1 if part == "negative_condition" else 5
        if tensor.ndim != ranks or not tensor.is_floating_point():
            raise PresetError(f"{part} of {name} has the wrong shape for a voice preset")
        if not torch.isfinite(tensor).all():
            raise PresetError(f"{part} of {name} contains non-finite values")
    return Preset(**tensors)
