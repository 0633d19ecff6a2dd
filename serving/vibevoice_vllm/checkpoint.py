"""Checks that a folder contains a complete VibeVoice-ASR checkpoint that the engine can serve."""

import json
import re
import struct
from pathlib import Path
from typing import Any

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
"""Pattern of a Hugging Face Hub repository id."""
ORIGINAL = "VibeVoiceForASRTraining"
"""Architecture name in the original layout, `microsoft/VibeVoice-ASR`."""
HF = "VibeVoiceAsrForConditionalGeneration"
"""Architecture name in transformers' layout, `microsoft/VibeVoice-ASR-HF`."""

TOKEN_IDS = {
    "<|endoftext|>": 151643,
    "<|im_start|>": 151644,
    "<|im_end|>": 151645,
    "<|object_ref_start|>": 151646,
    "<|object_ref_end|>": 151647,
    "<|box_start|>": 151648,
    "<|AUDIO|>": 151665,
    "<|audio_bos|>": 151666,
    "<|audio_eos|>": 151667,
}
"""The special tokens of the prompt and their ids in the published checkpoints (Qwen2.5's tokens;
microsoft/VibeVoice, vllm_plugin/tools/generate_tokenizer_files.py)."""
AUDIO_TOKENS = ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
"""The tokens that Qwen2.5 lacks, in order of their ids."""
PUBLISHED_VOCABULARY = 152064
"""`vocab_size` of the published checkpoints, to which the ids above apply."""

_OTHER_MODELS = {
    "VibeVoiceForConditionalGeneration": "a VibeVoice text-to-speech model (1.5B or 7B)",
    "VibeVoiceForConditionalGenerationInference": "a VibeVoice text-to-speech model (1.5B or 7B)",
    "VibeVoiceStreamingForConditionalGenerationInference": "VibeVoice-Realtime (text to speech)",
    "VibeVoiceForASRStreamingTraining": "VibeVoice-ASR-Streaming (other tokenizer and prompt)",
    "vibevoice_streaming": "VibeVoice-Realtime (text to speech)",
}


class CheckpointError(Exception):
    """The checkpoint cannot be prepared or served. The message states why and what was expected."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        CheckpointError: the file is missing, cannot be read, or does not contain a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path.name} is missing") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path.name} is not a JSON object")
    return value


def architecture(config: dict[str, Any]) -> str:
    """`ORIGINAL` or `HF`, according to the checkpoint's config.

    Raises:
        CheckpointError: the config belongs to another model.
    """
    names = [*(config.get("architectures") or []), config.get("model_type")]
    for name in names:
        if name in (ORIGINAL, HF):
            return str(name)
    found = next((_OTHER_MODELS[n] for n in names if n in _OTHER_MODELS), None)
    shown = ", ".join(str(n) for n in names if n) or "no architecture"
    raise CheckpointError(
        f"expected a VibeVoice-ASR checkpoint ({ORIGINAL} or {HF}), "
        f"got {found + ': ' if found else ''}{shown}"
    )


def problems(folder: Path) -> list[str]:
    """List what is missing or wrong in a served folder; empty if the engine can serve it."""
    try:
        config = read_json(folder / "config.json")
        architecture(config)
    except CheckpointError as error:
        return [str(error)]
    return [*_weight_problems(folder), *_tokenizer_problems(folder, config)]


def _weight_problems(folder: Path) -> list[str]:
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return _shard_problems(folder / "model.safetensors", None)
    try:
        weight_map = read_json(index).get("weight_map")
    except CheckpointError as error:
        return [str(error)]
    if not isinstance(weight_map, dict) or not weight_map:
        return [f"{index.name} has no weight_map"]
    shards: dict[str, set[str]] = {}
    for tensor, shard in weight_map.items():
        shards.setdefault(shard, set()).add(tensor)
    return [p for name in sorted(shards) for p in _shard_problems(folder / name, shards[name])]


def _shard_problems(path: Path, tensors: set[str] | None) -> list[str]:
    """Check a shard against its own header (length, offsets) and the index's list of tensors."""
    if not path.is_file():
        dangling = " (broken link)" if path.is_symlink() else ""
        return [f"{path.name} is missing{dangling}"]
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size:
                raise ValueError("the header length exceeds the file size")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        return [f"{path.name} is not a safetensors file: {error}"]
    found = []
    if size != (expected := 8 + length + end):
        found.append(f"{path.name} has {size} bytes; its header says {expected}")
    if tensors is not None and (absent := sorted(tensors - header.keys())):
        found.append(f"{path.name} lacks {len(absent)} tensors of the index (first: {absent[0]})")
    return found


def _tokenizer_problems(folder: Path, config: dict[str, Any]) -> list[str]:
    try:
        tokenizer = read_json(folder / "tokenizer.json")
        settings = read_json(folder / "tokenizer_config.json")
    except CheckpointError as error:
        return [str(error)]
    found = []
    if "tokenizer_class" in settings and architecture(config) == ORIGINAL:
        found.append("tokenizer_config.json still has a tokenizer_class")
    ids = {token["content"]: token["id"] for token in tokenizer.get("added_tokens", [])}
    text = config.get("decoder_config") or config.get("text_config") or {}
    size = text.get("vocab_size", PUBLISHED_VOCABULARY)
    expected = TOKEN_IDS if size == PUBLISHED_VOCABULARY else {}
    for token in TOKEN_IDS:
        if token not in ids:
            found.append(f"tokenizer.json lacks the token {token}")
        elif ids[token] >= size:
            found.append(f"token {token} has id {ids[token]}, but the vocabulary size is {size}")
        elif token in expected and ids[token] != expected[token]:
            found.append(f"token {token} has id {ids[token]}; expected {expected[token]}")
    return found
