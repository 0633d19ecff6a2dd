"""How large a VibeVoice-ASR is, from its config.json alone: no torch, no weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vibevoice_vllm.layout import hf_config

_FFN = 4
"""Width of an encoder block's feed-forward layer, in widths of the block."""
_KERNEL = 7
"""Kernel of an encoder's convolutions but the downsampling ones."""
_ENCODER = {
    "num_filters": 32,
    "downsampling_ratios": [2, 2, 4, 5, 5, 8],
    "depths": [3, 3, 3, 3, 3, 3, 8],
}
_BITS = {
    **dict.fromkeys(("fp8", "fp8_per_tensor", "fp8_per_channel", "fp8_per_block"), 8.0),
    "mxfp8": 8.25,
    **dict.fromkeys(("mxfp4", "awq", "awq_marlin", "gptq", "gptq_marlin"), 4.25),
}
"""Of a linear layer's parameter with its scales, by vLLM's name of the quantization."""

PUBLISHED: Mapping[str, Any] = {
    "acoustic_tokenizer_encoder_config": {**_ENCODER, "hidden_size": 64},
    "semantic_tokenizer_encoder_config": {**_ENCODER, "hidden_size": 128},
    "text_config": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_attention_heads": 28,
        "num_hidden_layers": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
    },
}
"""What counts here of microsoft/VibeVoice-ASR's config.json (revision d0c9efdb), in transformers'
layout: for a plan before the model is here."""


@dataclass(frozen=True)
class ModelSizes:
    """Parameters of the parts, and the widths that memory at work depends on."""

    linears: int
    """Parameters of the language model's linear layers: what quantization makes smaller."""
    rest: int
    """Parameters that stay in 16 bits: embeddings, output, norms, biases, projector."""
    encoders: int
    """Parameters of the two audio encoders."""
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    key_values: int
    """Numbers that a layer caches for each token."""
    key_value_heads: int
    """Most GPUs that these can be divided among."""
    filters: int
    """Channels of an encoder's first stage, the widest in memory; the most of both."""
    hop: int
    """Samples of audio a token."""
    linear_bits: float | None = None
    """Bits of a linear layer's parameter, where the checkpoint itself is quantized."""

    @property
    def parameters(self) -> int:
        return self.linears + self.rest + self.encoders


def model_sizes(config: Mapping[str, Any]) -> ModelSizes:
    """The sizes of the model with this config.json, in either published layout.

    Raises:
        KeyError: it lacks a value that is needed.
    """
    stored = _stored_bits(config.get("quantization_config") or {})
    if "text_config" not in config:
        config = hf_config(dict(config))
    text = config["text_config"]
    encoders = [config[f"{kind}_tokenizer_encoder_config"] for kind in ("acoustic", "semantic")]
    hidden, intermediate = text["hidden_size"], text["intermediate_size"]
    layers, vocabulary = text["num_hidden_layers"], text["vocab_size"]
    heads = text["num_attention_heads"]
    head = text.get("head_dim") or hidden // heads
    keys = text["num_key_value_heads"] * head
    linears = layers * (2 * hidden * heads * head + 2 * hidden * keys + 3 * hidden * intermediate)
    tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings", False))
    embeddings = vocabulary * hidden * (1 if tied else 2)
    # two norms a layer and biases of queries, keys and values; the norm at the end
    small = layers * (2 * hidden + heads * head + 2 * keys) + hidden
    # two linear layers with bias and a norm between them, for each encoder
    projector = sum(
        (encoder["hidden_size"] + 1) * hidden + hidden + (hidden + 1) * hidden
        for encoder in encoders
    )
    hop = 1
    for ratio in encoders[0]["downsampling_ratios"]:
        hop *= ratio
    return ModelSizes(
        linears=linears,
        rest=embeddings + small + projector,
        encoders=sum(_encoder_parameters(encoder) for encoder in encoders),
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        vocabulary=vocabulary,
        key_values=2 * keys,
        key_value_heads=text["num_key_value_heads"],
        filters=max(encoder["num_filters"] for encoder in encoders),
        hop=hop,
        linear_bits=stored,
    )


def linear_bits(quantization: str) -> float | None:
    """Bits of a linear layer's parameter for a value of vLLM's --quantization; None where it leaves
    linear layers as they are, as int8_per_channel_weight_only and nvfp4_per_token do."""
    return _BITS.get(quantization)


def _stored_bits(quantization: Mapping[str, Any]) -> float | None:
    """The same for a checkpoint's `quantization_config`; None where it does not say."""
    bits = quantization.get("bits") or quantization.get("w_bit")
    # a scale and a zero of 16 bits for 128 parameters, the usual group
    return bits + 0.25 if bits else linear_bits(quantization.get("quant_method", ""))


def _encoder_parameters(config: Mapping[str, Any]) -> int:
    """Of transformers' `VibeVoiceAcousticTokenizerEncoderModel`: a stem, a downsampling convolution
    before each further stage of blocks, and a head."""
    width = config["num_filters"]
    stem, *depths = config["depths"]
    total = (config.get("channels", 1) * _KERNEL + 1) * width + stem * _block_parameters(width)
    for ratio, depth in zip(config["downsampling_ratios"], depths, strict=True):
        total += (width * 2 * ratio + 1) * 2 * width
        width *= 2
        total += depth * _block_parameters(width)
    return total + (width * _KERNEL + 1) * config["hidden_size"]


def _block_parameters(width: int) -> int:
    """Two norms and two layer scales; a depthwise convolution; two linear layers."""
    feed_forward = _FFN * width * (width + 1) + width * (_FFN * width + 1)
    return 4 * width + (_KERNEL + 1) * width + feed_forward
