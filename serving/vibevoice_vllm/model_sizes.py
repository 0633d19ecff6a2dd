"""Computes the size of a VibeVoice-ASR model from its config.json, without torch or weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vibevoice_vllm.layout import hf_config

_FFN = 4
"""Width of an encoder block's feed-forward layer, as a multiple of the block's width."""
_KERNEL = 7
"""Kernel size of an encoder's convolutions, except for downsampling."""
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
"""Bits per parameter of a linear layer, including scales, by vLLM's name of the quantization."""

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
"""The relevant part of microsoft/VibeVoice-ASR's config.json (revision d0c9efdb), in transformers'
layout: for planning before the model is downloaded."""


@dataclass(frozen=True)
class ModelSizes:
    """Parameter counts of the model's parts, and the dimensions that working memory depends on."""

    linears: int
    """Parameters of the language model's linear layers, which quantization makes smaller."""
    rest: int
    """Parameters that stay in 16 bits: embeddings, output layer, norms, biases, and projector."""
    encoders: int
    """Parameters of the two audio encoders."""
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    key_values: int
    """Numbers that a layer caches per token."""
    key_value_heads: int
    """Maximum number of GPUs that these can be divided among."""
    filters: int
    """Channels of an encoder's first stage, which takes the most memory; the larger of the two."""
    hop: int
    """Audio samples per token."""
    linear_bits: float | None = None
    """Bits per parameter of a linear layer if the checkpoint itself is quantized."""

    @property
    def parameters(self) -> int:
        return self.linears + self.rest + self.encoders


def model_sizes(config: Mapping[str, Any]) -> ModelSizes:
    """Compute the sizes of the model with this config.json, in either published layout.

    Raises:
        KeyError: a required value is missing.
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
    # two norms per layer and the biases of queries, keys, and values; the final norm
    small = layers * (2 * hidden + heads * head + 2 * keys) + hidden
    # for each encoder, two linear layers with biases and a norm between them
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
    """Bits per parameter of a linear layer for a value of vLLM's --quantization; None if it does
    not quantize linear layers (int8_per_channel_weight_only, nvfp4_per_token)."""
    return _BITS.get(quantization)


def _stored_bits(quantization: Mapping[str, Any]) -> float | None:
    """The same for a checkpoint's `quantization_config`; None if it is not specified."""
    bits = quantization.get("bits") or quantization.get("w_bit")
    # a 16-bit scale and a 16-bit zero point per 128 parameters, the usual group size
    return bits + 0.25 if bits else linear_bits(quantization.get("quant_method", ""))


def _encoder_parameters(config: Mapping[str, Any]) -> int:
    """Parameters of transformers' `VibeVoiceAcousticTokenizerEncoderModel`: a stem, stages of
    blocks with a downsampling convolution before each but the first, and a head."""
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
