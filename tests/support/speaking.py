"""Speech requests to a proxy, with models and recordings for them."""

import base64
import io
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import soundfile
import torch
from tests.support.tts_fixtures import LONGFORM, REALTIME
from transformers import VibeVoiceConfig, VibeVoiceForConditionalGeneration

from vibevoice_tts.engines.layout import longform_config
from vibevoice_tts.engines.loading import read_config

SPEECH = "/v1/audio/speech"
WEIGHTS_SEED = 42


def make_models(folder: Path) -> Path:
    """A `MODEL_DIR` with two tiny models and their voices."""
    (folder / "voices").mkdir()
    (folder / "VibeVoice-Realtime-0.5B").symlink_to(REALTIME)
    (folder / "voices" / "streaming_model").symlink_to(REALTIME / "voices")
    _write_longform(folder / "VibeVoice-1.5B")
    (folder / "voices" / "full_model").symlink_to(LONGFORM / "voices")
    return folder


def _write_longform(folder: Path) -> None:
    """Write a 1.5B model with a million random parameters, in transformers' layout.

    Its frames have 3200 samples like those of the published model, so a voice of a few seconds
    takes a few positions instead of thousands as with the model in tests/data. The weights are
    chosen so that it says something and stops by itself.
    """
    values = longform_config(read_config(LONGFORM))
    for part in ("audio_config", "semantic_model_config"):
        values[part] |= {
            "num_filters": 2,
            "downsampling_ratios": [2, 2, 4, 5, 5, 8],
            "depths": [1] * 7,
        }
    with torch.random.fork_rng():
        torch.manual_seed(WEIGHTS_SEED)
        model = VibeVoiceForConditionalGeneration(VibeVoiceConfig(**values))
        for name, weight in model.named_parameters():
            if weight.ndim >= 2:
                torch.nn.init.normal_(weight, 0, weight[0].numel() ** -0.5)
            elif "gamma" in name:
                torch.nn.init.constant_(weight, 0.5)
    parts = model.model
    parts.audio_tower.decoder.head.conv.weight.data *= 0.1  # avoids clipping
    parts.latent_scaling_factor.data.fill_(1.0)
    parts.latent_bias_factor.data.fill_(0.0)
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((LONGFORM / "tokenizer.json").read_bytes())


def speak(http: httpx2.Client, **body: Any) -> httpx2.Response:
    """The response to a request for plain samples, from the 1.5B model by default."""
    fields = {"model": "tts-1-hd", "response_format": "pcm", "seed": 1, "steps": 2, **body}
    return http.post(SPEECH, json=fields)


def encoded(data: bytes) -> str:
    """Bytes in base64."""
    return base64.b64encode(data).decode()


def recording(seconds: float, pitch: float = 120.0, rate: int = 24_000, form: str = "WAV") -> bytes:
    """A buzz with vibrato, as a file; different pitches act as different speakers."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * pitch * time + 2 * np.sin(2 * np.pi * 5 * time)
    samples = np.sum([np.sin(n * phase) / n for n in range(1, 8)], axis=0) * 0.1
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format=form)
    return content.getvalue()
