"""The original layout and transformers' layout contain the same checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.support.engine import TINY
from tests.support.original_layout import export_original, original_name
from transformers import VibeVoiceAsrConfig
from transformers.models.vibevoice_acoustic_tokenizer import (
    VibeVoiceAcousticTokenizerEncoderConfig,
)

from vibevoice_vllm.config import OriginalConfig
from vibevoice_vllm.layout import MIXER, PREFIXES, VARIANTS


def hf_name(name: str) -> str:
    """A tensor's name in transformers' layout, from the table, as vLLM's mapper reads it."""
    name = name.replace(*MIXER)
    for begins, becomes in PREFIXES.items():
        if name.startswith(begins):
            name = becomes + name.removeprefix(begins)
    return name


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded checkpoint in the original layout."""
    folder = tmp_path_factory.mktemp("original")
    export_original(TINY, folder)
    return folder


# From the weight map of microsoft/VibeVoice-ASR and transformers' conversion script.
@pytest.mark.parametrize(
    ("original_key", "hf_key"),
    [
        pytest.param(
            "model.acoustic_tokenizer.encoder.downsample_layers.0.0.conv.conv.weight",
            "acoustic_tokenizer_encoder.stem.conv.conv.weight",
            id="stem",
        ),
        pytest.param(
            "model.acoustic_tokenizer.encoder.stages.0.2.mixer.conv.conv.conv.bias",
            "acoustic_tokenizer_encoder.stem.stage.2.mixer.conv.bias",
            id="stem-mixer",
        ),
        pytest.param(
            "model.semantic_tokenizer.encoder.downsample_layers.6.0.conv.conv.weight",
            "semantic_tokenizer_encoder.conv_layers.5.conv.conv.weight",
            id="downsample",
        ),
        pytest.param(
            "model.semantic_tokenizer.encoder.stages.6.7.ffn.linear1.weight",
            "semantic_tokenizer_encoder.conv_layers.5.stage.7.ffn.linear1.weight",
            id="block",
        ),
        pytest.param(
            "model.semantic_tokenizer.encoder.head.conv.conv.bias",
            "semantic_tokenizer_encoder.head.conv.bias",
            id="head",
        ),
        pytest.param(
            "model.acoustic_connector.fc1.weight",
            "multi_modal_projector.acoustic_linear_1.weight",
            id="projector",
        ),
        pytest.param(
            "model.semantic_connector.norm.weight",
            "multi_modal_projector.semantic_norm.weight",
            id="projector-norm",
        ),
        pytest.param(
            "model.language_model.layers.27.self_attn.q_proj.bias",
            "language_model.model.layers.27.self_attn.q_proj.bias",
            id="language-model",
        ),
        pytest.param("lm_head.weight", "language_model.lm_head.weight", id="lm-head"),
    ],
)
def test_names_map_both_ways(original_key: str, hf_key: str) -> None:
    """The published name in one layout maps to the published name in the other."""
    assert hf_name(original_key) == hf_key
    assert original_name(hf_key) == original_key


def test_foreign_tensor_has_no_original_name() -> None:
    """The error names a tensor that is not part of VibeVoice-ASR; it is not dropped."""
    with pytest.raises(KeyError, match="prediction_head"):
        original_name("prediction_head.weight")


def test_export_keeps_every_tensor(original: Path) -> None:
    """The shards contain exactly the source's tensors, under names that map back."""
    source = load_file(TINY / "model.safetensors")
    index = json.loads((original / "model.safetensors.index.json").read_text())["weight_map"]
    exported: dict[str, torch.Tensor] = {}
    for shard in sorted(set(index.values())):
        tensors = load_file(original / shard)
        assert all(index[name] == shard for name in tensors)
        exported |= tensors
    assert len(exported) == len(source) == len(index)
    for name, tensor in source.items():
        for variant, canonical in VARIANTS.items():
            name = name.replace(variant, canonical)
        assert torch.equal(exported[original_name(name)], tensor)


def test_exported_config_is_read_as_the_source(original: Path) -> None:
    """vLLM sees the same encoders and language model in both layouts."""
    hf: Any = VibeVoiceAsrConfig.from_pretrained(TINY)
    read: Any = OriginalConfig.from_pretrained(original)
    for part in ("acoustic_tokenizer_encoder_config", "semantic_tokenizer_encoder_config"):
        a, b = getattr(hf, part).to_dict(), getattr(read, part).to_dict()
        assert {k: b[k] for k in a if k != "dtype"} == {k: a[k] for k in a if k != "dtype"}
    a, b = hf.text_config.to_dict(), read.text_config.to_dict()
    for key in ("hidden_size", "num_key_value_heads", "rope_parameters", "vocab_size"):
        assert a[key] == b[key], key
    assert read.architectures == ["VibeVoiceForASRTraining"]


def test_published_config_is_read() -> None:
    """The original values (microsoft/VibeVoice, vibevoice/configs/qwen2.5_7b_32k.json) equal those
    of transformers' layout, including rotary base and acoustic noise."""
    tokenizer = {
        "channels": 1,
        "encoder_depths": "3-3-3-3-3-3-8",
        "encoder_n_filters": 32,
        "encoder_ratios": [8, 5, 5, 4, 2, 2],
        "layer_scale_init_value": 1e-06,
        "layernorm_eps": 1e-05,
    }
    read: Any = OriginalConfig.from_dict(
        {
            "model_type": "vibevoice",
            "acoustic_tokenizer_config": {**tokenizer, "vae_dim": 64, "fix_std": 0.5},
            "semantic_tokenizer_config": {**tokenizer, "vae_dim": 128, "fix_std": 0},
            "decoder_config": {"model_type": "qwen2", "rope_theta": 1e6, "hidden_size": 3584},
            "torch_dtype": "bfloat16",
        }
    )
    acoustic, semantic = (
        read.acoustic_tokenizer_encoder_config,
        read.semantic_tokenizer_encoder_config,
    )
    published = VibeVoiceAcousticTokenizerEncoderConfig()
    for encoder in (acoustic, semantic):
        assert list(encoder.depths) == list(published.depths)
        assert list(encoder.downsampling_ratios) == list(published.downsampling_ratios)
    assert (acoustic.hidden_size, semantic.hidden_size) == (64, 128)
    assert acoustic.vae_std == published.vae_std == 0.625
    assert read.text_config.rope_parameters["rope_theta"] == 1e6


def test_export_has_no_tokenizer(original: Path) -> None:
    """This matches the published checkpoint; `prepare` adds the tokenizer files."""
    assert sorted(path.name for path in original.iterdir()) == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "preprocessor_config.json",
    ]


def test_speech_synthesis_config_is_refused(tmp_path: Path) -> None:
    """A VibeVoice text-to-speech model is detected by its config."""
    (tmp_path / "config.json").write_text('{"model_type": "vibevoice", "decoder_config": {}}')
    with pytest.raises(ValueError, match="Expected the config of VibeVoice-ASR"):
        OriginalConfig.from_pretrained(tmp_path)
