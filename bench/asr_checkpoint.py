"""Creates a VibeVoice-ASR of the published size with random weights, in either published layout.

    python -m bench.asr_checkpoint FOLDER --layout hf

For the same seed, both layouts have the same weights. They are written as they are generated, so
writing 17 GB only needs the memory for the block of noise from which they are cut.
"""

import argparse
import json
import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import torch
from tests.support.original_layout import original_name
from transformers import (
    VibeVoiceAcousticTokenizerConfig,
    VibeVoiceAcousticTokenizerModel,
    VibeVoiceAsrConfig,
    VibeVoiceAsrForConditionalGeneration,
)

from bench.asr_size import LAYOUTS, Layout, size
from bench.asr_tokenizer import write_tokenizer
from vibevoice_vllm.checkpoint import HF, TOKEN_IDS
from vibevoice_vllm.layout import VARIANTS, hf_config

SHARDS = 8
"""File names in the original layout."""
_BLOCK = 16_777_259
"""Number of noise values: a prime, so that no two rows of a matrix are equal."""
_LAYER_SCALE = 0.2
"""The trained values are not known; at the initial 1e-6, the encoders' layers would have no
effect."""
_BIAS = 0.05
_SHARPENED = 1.7
"""Scale of queries and keys: at 1, attention would be nearly uniform and the audio would hardly
matter."""
_DECODER = (
    (r"\.stem\.conv\.conv\.", ".upsample_layers.0.0.conv.conv."),
    (r"\.stem\.stage\.", ".stages.0."),
    (r"\.mixer\.conv\.", ".mixer.conv.conv.conv."),
    (r"\.head\.conv\.", ".head.conv.conv."),
)
"""Parts of the acoustic decoder's tensor names: transformers' → original."""
_NUMBERED = re.compile(r"\.conv_layers\.(\d+)\.(convtr\.convtr|stage)\.")


class Tensor(NamedTuple):
    """A tensor of a checkpoint."""

    name: str
    """Name in the layout."""
    key: str
    """Equal in both layouts; selects the values."""
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size in bfloat16."""
        return 2 * math.prod(self.shape)


def tensors(layout: Layout, layers: int = 0) -> list[Tensor]:
    """The tensors of a layout: 901 in transformers', 1177 in the original one, which also contains
    the acoustic decoder."""
    with torch.device("meta"):
        model: Any = VibeVoiceAsrForConditionalGeneration(_hf_config(layers))
        decoder: Any = VibeVoiceAcousticTokenizerModel(VibeVoiceAcousticTokenizerConfig())
    found = []
    for name, tensor in model.state_dict().items():
        key = _published(name)
        stored = original_name(key) if layout == "original" else key
        found.append(Tensor(stored, key, tuple(tensor.shape)))
    if layout == "original":
        found += [
            Tensor(_original_decoder(name), f"acoustic_tokenizer.{name}", tuple(tensor.shape))
            for name, tensor in decoder.state_dict().items()
            if name.startswith("decoder.")
        ]
    return found


def build(folder: Path, layout: Layout, layers: int = 0, seed: int = 0) -> int:
    """Write a checkpoint in its published form to `folder`; return the size of its weights in
    bytes.

    transformers' layout has a tokenizer, the original one does not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = size(layers)
    if layout == "hf":
        config = {**_hf_config(layers).to_dict(), "architectures": [HF], "dtype": "bfloat16"}
        end = {"eos_token_id": TOKEN_IDS["<|endoftext|>"], "do_sample": False}
        _write_json(folder / "generation_config.json", end)
        write_tokenizer(folder)
    _write_json(folder / "config.json", config)
    return write_weights(folder, tensors(layout, layers), seed)


def write_weights(folder: Path, found: Sequence[Tensor], seed: int) -> int:
    """Write these tensors and their index to `folder`; return their size in bytes."""
    noise = Noise(seed)
    weight_map = {}
    shards = list(_shards(found))
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_shard(folder / file, shard, noise)
        weight_map |= {tensor.name: file for tensor in shard}
    total = sum(tensor.nbytes for tensor in found)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write_json(folder / "model.safetensors.index.json", index)
    return total


class Noise:
    """Weights cut from one block of normal noise; each tensor has its own offset.

    They are scaled so that activations keep their size from layer to layer, as in a trained model.
    """

    def __init__(self, seed: int) -> None:
        self._block = torch.randn(_BLOCK, generator=torch.Generator().manual_seed(seed))
        self._scaled = lru_cache(8)(self._scale)

    def parts(self, key: str, shape: tuple[int, ...]) -> Iterator[torch.Tensor]:
        """The values of a tensor, flat, in bfloat16, part by part."""
        left = math.prod(shape)
        constant = 1.0 if key.endswith("norm.weight") else None
        constant = _LAYER_SCALE if key.endswith("gamma") else constant
        if constant is not None:
            yield torch.full((left,), constant, dtype=torch.bfloat16)
            return
        block = self._scaled(_deviation(key, shape))
        at = crc32(key.encode()) % _BLOCK
        while left:
            part = block[at : at + left]
            yield part
            left -= len(part)
            at = 0

    def _scale(self, deviation: float) -> torch.Tensor:
        return (self._block * deviation).to(torch.bfloat16)


def _deviation(key: str, shape: tuple[int, ...]) -> float:
    if len(shape) == 1:
        return _BIAS
    if "embed_tokens" in key:
        return 1.0
    sharpened = _SHARPENED if ".q_proj." in key or ".k_proj." in key else 1.0
    return sharpened * math.prod(shape[1:]) ** -0.5


def _hf_config(layers: int) -> VibeVoiceAsrConfig:
    return VibeVoiceAsrConfig.from_dict({**hf_config(size(layers)), "tie_word_embeddings": False})


def _published(name: str) -> str:
    """The published name of the tensor that transformers 5 calls `name` in the model."""
    name = name.replace("model.language_model.", "language_model.model.", 1)
    name = re.sub(r"^lm_head\.", "language_model.lm_head.", name)
    for variant, published in VARIANTS.items():
        if name.startswith(variant):
            return published + name.removeprefix(variant)
    return name


def _original_decoder(name: str) -> str:
    name = f"model.acoustic_tokenizer.{name}"
    for pattern, replacement in _DECODER:
        name = re.sub(pattern, replacement, name)
    return _NUMBERED.sub(_numbered, name)


def _numbered(match: re.Match[str]) -> str:
    number = int(match[1]) + 1
    if match[2] == "stage":
        return f".stages.{number}."
    return f".upsample_layers.{number}.0.convtr.convtr."


def _shards(found: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Divide the tensors into at most `SHARDS` parts of about equal size."""
    limit = sum(tensor.nbytes for tensor in found) / SHARDS
    shards: dict[int, list[Tensor]] = {}
    done = 0
    for tensor in found:
        shards.setdefault(int(done / limit), []).append(tensor)
        done += tensor.nbytes
    yield from shards.values()


def _write_shard(path: Path, shard: list[Tensor], noise: Noise) -> None:
    """Write a safetensors file: length of the header, header, values."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in shard:
        begin, end = end, end + tensor.nbytes
        offsets = [begin, end]
        header[tensor.name] = {"dtype": "BF16", "shape": tensor.shape, "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in shard:
            for part in noise.parts(tensor.key, tensor.shape):
                file.write(part.view(torch.uint8).numpy().data)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="VibeVoice-ASR with random weights.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layout", choices=LAYOUTS, default="original")
    parser.add_argument("--layers", type=int, default=0, help="language model layers; 0 = all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    written = build(options.folder, options.layout, options.layers, options.seed)
    print(f"{options.folder}: {written / 1e9:.2f} GB of weights")


if __name__ == "__main__":
    main()
