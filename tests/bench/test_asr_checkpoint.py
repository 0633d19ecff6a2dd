"""The checkpoint of the published size has the published names and sizes, the same in both
layouts."""

import json
import re
from pathlib import Path

import pytest
import torch
from bench.asr_checkpoint import Tensor, tensors, write_weights
from bench.asr_size import LAYOUTS, SIZE, Layout, size
from bench.asr_tokenizer import write_tokenizer
from safetensors.torch import load_file
from transformers import AutoTokenizer

from vibevoice_core.prompt import SYSTEM, user_text
from vibevoice_tts.engines.layout import hf_name
from vibevoice_vllm.checkpoint import CheckpointError
from vibevoice_vllm.prepare import prepare

SMALL = 1_000_000
"""Maximum bytes of the tensors that are written here: a few hundred of them."""


def small(layout: Layout, folder: Path, seed: int = 0) -> dict[str, torch.Tensor]:
    """The small tensors of a layout as read from its files, by their key."""
    folder.mkdir(exist_ok=True)
    chosen = [t for t in tensors(layout, 1) if t.nbytes < SMALL]
    write_weights(folder, chosen, seed)
    read: dict[str, torch.Tensor] = {}
    for file in folder.glob("*.safetensors"):
        read |= load_file(file)
    return {tensor.key: read[tensor.name] for tensor in chosen}


@pytest.mark.parametrize(
    ("layout", "count", "size"),
    [("original", 1177, 17_348_043_714), ("hf", 901, 16_660_651_776)],
)
def test_tensors_are_as_many_and_as_large_as_published(
    layout: Layout, count: int, size: int
) -> None:
    """The numbers are those of microsoft/VibeVoice-ASR and microsoft/VibeVoice-ASR-HF."""
    found = tensors(layout)
    assert len({tensor.name for tensor in found}) == len(found) == count
    assert sum(tensor.nbytes for tensor in found) == size


def test_the_acoustic_decoder_has_its_original_names() -> None:
    """The name table of the speech models, which have the same decoder, maps the names back."""
    decoder = [t for t in tensors("original") if t.name.startswith("model.acoustic_tokenizer.dec")]
    assert len(decoder) == 276
    for tensor in decoder:
        name = tensor.key.removeprefix("acoustic_tokenizer.")
        assert hf_name(tensor.name) == f"model.audio_tower.{name}"


def test_both_layouts_have_the_same_weights(tmp_path: Path) -> None:
    """The weights are bit-identical; another seed gives different ones."""
    original, hf = (small(layout, tmp_path / layout) for layout in LAYOUTS)
    assert len(hf) > 500
    assert hf.keys() < original.keys()
    for key, tensor in hf.items():
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, original[key]), key
    other = small("hf", tmp_path / "other", seed=1)
    weights = [key for key in hf if key.endswith("linear1.weight")]
    assert weights
    assert not any(torch.equal(hf[key], other[key]) for key in weights)


def test_a_tensor_larger_than_the_noise_is_written_whole(tmp_path: Path) -> None:
    """No two rows are equal, and the weights keep their scale."""
    name = "language_model.model.layers.0.mlp.down_proj.weight"
    write_weights(tmp_path, [Tensor(name, name, (5000, 3584))], 0)
    (file,) = tmp_path.glob("*.safetensors")
    weight = load_file(file)[name].float()
    assert len(torch.unique(weight[:, :8], dim=0)) == 5000
    assert weight.std().item() == pytest.approx(3584**-0.5, rel=0.01)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return folder


def test_the_stand_in_for_the_tokenizer_is_prepared(tokenizer: Path, tmp_path: Path) -> None:
    """`prepare` finds every special token with its published id, and a prompt has as many tokens as
    with Qwen2.5's."""
    source, served = tmp_path / "source", tmp_path / "served"
    source.mkdir()
    (source / "config.json").write_text(json.dumps(SIZE))
    write_weights(source, [t for t in tensors("original") if t.nbytes < 1000], 0)
    prepare(str(source), served, str(tokenizer))
    made = AutoTokenizer.from_pretrained(served)
    text = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{user_text(30.0)}<|im_end|>"
    ids = made(text).input_ids
    assert ids[0] == 151644
    assert ids[-1] == 151645
    assert len(ids) == 54
    assert made.decode(ids) == text
    assert made.decode([70_000, 70_001]).strip().isupper()


def test_a_tokenizer_with_other_ids_is_refused(tokenizer: Path, tmp_path: Path) -> None:
    """This shows that the previous test does not pass only because `prepare` accepts anything."""
    base, source = tmp_path / "base", tmp_path / "source"
    base.mkdir()
    source.mkdir()
    changed = json.loads((tokenizer / "tokenizer.json").read_text())
    changed["added_tokens"] = changed["added_tokens"][:-1]
    (base / "tokenizer.json").write_text(json.dumps(changed))
    (base / "tokenizer_config.json").write_bytes((tokenizer / "tokenizer_config.json").read_bytes())
    (source / "config.json").write_text(json.dumps(size(2)))
    write_weights(source, [t for t in tensors("original", 1) if t.nbytes < 1000], 0)
    with pytest.raises(
        CheckpointError, match=re.escape("<|AUDIO|> has id 151664; expected 151665")
    ):
        prepare(str(source), tmp_path / "served", str(base))
