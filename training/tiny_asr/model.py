"""Defines the small VibeVoice-ASR: the real classes in a small configuration, and a tokenizer."""

from dataclasses import dataclass

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Qwen2Tokenizer,
    VibeVoiceAsrConfig,
    VibeVoiceAsrForConditionalGeneration,
)

from training.tiny_asr.encoder import encoded
from training.tiny_asr.recordings import WORDS
from vibevoice_core.prompt import SYSTEM, user_text

SOUNDS = 8
"""Frames of the encoder's third stage (60 per second) per audio token."""

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|AUDIO|>",
    "<|audio_bos|>",
    "<|audio_eos|>",
)

# Qwen2's pre-tokenizer pattern (transformers, models/qwen2/tokenization_qwen2.py).
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def prompt(seconds: float, audio_tokens: int, info: str = "") -> str:
    """VibeVoice's prompt for a recording, with placeholders for its audio; `info` as for
    `user_text`."""
    return (
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"
        f"<|object_ref_start|>{'<|box_start|>' * audio_tokens}<|object_ref_end|>\n"
        f"{user_text(seconds, info)}<|im_end|>\n<|im_start|>assistant\n"
    )


def make_tokenizer() -> Qwen2Tokenizer:
    """A byte-level BPE like Qwen2's, with a few merges learned from the prompt and the answers."""
    segments = [
        f'[{{"Start":0.1,"End":2.3,"Speaker":0,"Content":"{word} {word}"}},'
        f'{{"Start":4.5,"End":6.7,"Speaker":1,"Content":"{word} {word}"}}]'
        for word in WORDS
    ]
    hotwords = "audio, with extra info: one\n\nPlease transcribe it with these keys:"
    corpus = [*segments, prompt(8.9, 0), prompt(8.9, 0), hotwords, hotwords]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN2_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=503,
        special_tokens=[],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    fast = Qwen2Tokenizer(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        model_max_length=131072,
    )
    fast.add_special_tokens({"additional_special_tokens": list(SPECIAL_TOKENS)})
    return fast


def make_config(tokenizer: Qwen2Tokenizer) -> VibeVoiceAsrConfig:
    """Sizes of the small model. A large first ratio keeps the amount of work at 24 kHz small."""
    encoder = {
        "downsampling_ratios": [10, 8, 5, 4, 2],
        "layer_scale_init_value": 0.1,
        "vae_std": 0.0,
    }

    def token(text: str) -> int:
        return tokenizer.get_vocab()[text]

    return VibeVoiceAsrConfig(
        acoustic_tokenizer_encoder_config={
            **encoder,
            "num_filters": 10,
            "depths": [0, 1, 2, 2, 2, 2],
            "hidden_size": 128,
        },
        semantic_tokenizer_encoder_config={
            **encoder,
            "num_filters": 4,
            "depths": [0, 1, 1, 1, 1, 1],
            "hidden_size": 32,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "max_position_embeddings": 65536,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            "tie_word_embeddings": False,
            "bos_token_id": None,
            "eos_token_id": token("<|endoftext|>"),
            "pad_token_id": token("<|endoftext|>"),
        },
        audio_token_id=token("<|box_start|>"),
        audio_bos_token_id=token("<|object_ref_start|>"),
        audio_eos_token_id=token("<|object_ref_end|>"),
    )


def make_model(config: VibeVoiceAsrConfig) -> VibeVoiceAsrForConditionalGeneration:
    """Random weights; PyTorch's defaults in the encoders, so that audio matters from step 1."""
    model = VibeVoiceAsrForConditionalGeneration(config)
    for name, module in model.model.named_modules():
        if "tokenizer_encoder" in name and isinstance(module, torch.nn.Conv1d | torch.nn.Linear):
            module.reset_parameters()
    return model


@dataclass(frozen=True)
class EncoderOutput:
    embeddings: torch.Tensor
    """(rows, tokens, hidden)."""
    sounds: torch.Tensor
    """(rows, tokens, 8, channels): the acoustic encoder's 60 Hz stage."""
    unevenness: torch.Tensor
    """How far the mean squares of the stages are from 1, as the mean squared logarithm. There is no
    norm between stages, so they can grow until the blocks, which follow a norm, add nothing."""


def encode(model: VibeVoiceAsrForConditionalGeneration, audio: torch.Tensor) -> EncoderOutput:
    """Encode audio (rows, samples), float32 at 24 kHz, a whole number of tokens long.

    transformers' `get_audio_features` runs the encoders under `no_grad`; this does not.
    """
    parts = model.model
    acoustic = encoded(parts.acoustic_tokenizer_encoder, audio)
    semantic = encoded(parts.semantic_tokenizer_encoder, audio)
    levels = torch.stack([x.float().pow(2).mean() for x in (*acoustic, *semantic)])
    return EncoderOutput(
        parts.multi_modal_projector(acoustic[-1], semantic[-1]).float(),
        acoustic[2].unflatten(1, (-1, SOUNDS)).float(),
        (levels + 1e-6).log().square().mean(),
    )
