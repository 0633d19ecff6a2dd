"""Tiny speech models, and the output of Microsoft's code for them (tests/data/README.md)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from vibevoice_tts.models import ModelConfig
from vibevoice_tts.speech_model import (
    Chunk,
    End,
    Event,
    Samples,
    SpeechModel,
    SpeechRequest,
    Turn,
)

DATA = Path(__file__).parents[1] / "data"
REALTIME = DATA / "tts-realtime"
LONGFORM = DATA / "tts-longform"
REALTIME_SIZE = {
    "model_type": "vibevoice_streaming",
    "tts_backbone_num_hidden_layers": 20,
    "acoustic_tokenizer_config": {
        "vae_dim": 64,
        "encoder_n_filters": 32,
        "encoder_ratios": [8, 5, 5, 4, 2, 2],
        "encoder_depths": "3-3-3-3-3-3-8",
    },
    "decoder_config": {
        "vocab_size": 151936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-6,
    },
    "diffusion_head_config": {
        "hidden_size": 896,
        "latent_size": 64,
        "head_layers": 4,
        "head_ffn_ratio": 3.0,
        "rms_norm_eps": 1e-5,
    },
}
"""The sizes in the config.json of microsoft/VibeVoice-Realtime-0.5B."""
_TOKENIZER = {
    "encoder_n_filters": 32,
    "encoder_ratios": [8, 5, 5, 4, 2, 2],
    "encoder_depths": "3-3-3-3-3-3-8",
}
LONGFORM_SIZE = {
    "acoustic_tokenizer_config": {"vae_dim": 64, "fix_std": 0.5, **_TOKENIZER},
    "semantic_tokenizer_config": {"vae_dim": 128, "fix_std": 0, **_TOKENIZER},
    "decoder_config": {
        "model_type": "qwen2",
        "vocab_size": 151936,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "max_position_embeddings": 65536,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    },
    "diffusion_head_config": {
        "hidden_size": 1536,
        "latent_size": 64,
        "head_layers": 4,
        "head_ffn_ratio": 3.0,
        "rms_norm_eps": 1e-5,
    },
}
"""The sizes in the config.json of microsoft/VibeVoice-1.5B."""


def tiny(kind: str, folder: Path, **changes: Any) -> ModelConfig:
    """Config for the model in a fixture's folder; by default for up to 4 requests on the CPU in
    float32."""
    values = {"folder": str(folder), "voices": str(folder / "voices"), "capacity": 4}
    return ModelConfig(kind, **{**values, "device": "cpu", "dtype": "float32", **changes})


@dataclass
class Spoken:
    """The output of a speech model for one request."""

    chunks: list[Samples]
    end: End | None = None

    @property
    def audio(self) -> Samples:
        """The concatenated chunks."""
        return np.concatenate(self.chunks)


def expected(folder: Path) -> list[tuple[dict[str, Any], Samples]]:
    """The cases of a fixture: the requests and the expected audio."""
    with safe_open(folder / "expected.safetensors", framework="np") as file:
        cases = json.loads(file.metadata()["cases"])
        return [(case, file.get_tensor(f"audio.{n}")) for n, case in enumerate(cases)]


def request_of(case: dict[str, Any]) -> SpeechRequest:
    """The request for a fixture's case."""
    turns = case.get("turns") or [[case["text"], case["voice"]]]
    return SpeechRequest(
        tuple(Turn(text, voice) for text, voice in turns),
        cfg_scale=case["cfg_scale"],
        steps=case["steps"],
        seed=case["seed"],
    )


def collect(events: list[Event], spoken: dict[int, Spoken]) -> None:
    """Add the events of one step to the collected output."""
    for event in events:
        if isinstance(event, Chunk):
            spoken[event.handle].chunks.append(event.samples)
        elif isinstance(event, End):
            spoken[event.handle].end = event


def speak(model: SpeechModel, request: SpeechRequest) -> Spoken:
    """Run one request from start to end."""
    spoken = Spoken([])
    handle = model.join(request)
    while spoken.end is None:
        collect(model.step(), {handle: spoken})
    return spoken


def speak_start(model: SpeechModel, request: SpeechRequest, chunks: int) -> Samples:
    """The first chunks of one request, which then leaves."""
    spoken = Spoken([])
    handle = model.join(request)
    while len(spoken.chunks) < chunks:
        collect(model.step(), {handle: spoken})
        assert spoken.end is None, "the request ended early"
    model.leave(handle)
    return spoken.audio
