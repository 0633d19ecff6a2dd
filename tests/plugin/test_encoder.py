"""Windows of a recording give what the whole recording gives."""

from typing import Any

import pytest
import torch
from tests.support.engine import TINY
from tests.support.recordings import gliding_tone
from transformers import (
    VibeVoiceAcousticTokenizerFeatureExtractor,
    VibeVoiceAsrForConditionalGeneration,
)
from transformers.models.vibevoice_acoustic_tokenizer import (
    VibeVoiceAcousticTokenizerEncoderConfig,
)
from transformers.models.vibevoice_acoustic_tokenizer.modeling_vibevoice_acoustic_tokenizer import (
    VibeVoiceAcousticTokenizerEncoderModel,
)

from vibevoice_vllm.audio import cut, normalize
from vibevoice_vllm.encoder import batches, context_samples, context_tokens, encode, noise

HOP = 3200
PUBLISHED = VibeVoiceAcousticTokenizerEncoderConfig()
"""Depths, ratios and kernels of the published encoders."""


@pytest.fixture(scope="module")
def model() -> Any:
    """transformers' own model on the embedded checkpoint, in float32."""
    return VibeVoiceAsrForConditionalGeneration.from_pretrained(TINY, dtype=torch.float32).eval()


def test_published_context_is_58_tokens() -> None:
    """7.73 seconds, as found by autograd on the published configuration."""
    assert context_samples(PUBLISHED) == 185_562
    assert context_tokens(HOP, PUBLISHED) == 58


@pytest.mark.parametrize("offset", [pytest.param(0, id="last"), pytest.param(1, id="beyond")])
def test_context_is_exact(offset: int) -> None:
    """A token depends on the sample `context_samples` before its hop, and not on the one before."""
    torch.manual_seed(0)
    config = VibeVoiceAcousticTokenizerEncoderConfig(
        num_filters=2, hidden_size=2, depths=[1, 2, 1], downsampling_ratios=[2, 4]
    )
    encoder = VibeVoiceAcousticTokenizerEncoderModel(config).double().eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter)
    hop, tokens = 8, 40
    audio = torch.randn(1, 1, hop * tokens, dtype=torch.double, requires_grad=True)
    encoder(audio).latents[0, -1].sum().backward()
    assert audio.grad is not None
    first = hop * (tokens - 1) - context_samples(config)
    assert bool(audio.grad[0, 0, first - offset] == 0) is bool(offset)


@pytest.mark.parametrize("rows", [pytest.param(1, id="alone"), pytest.param(4, id="batched")])
def test_windows_equal_the_whole(model: Any, rows: int) -> None:
    """Embeddings of windows differ from transformers' own by rounding only."""
    samples = gliding_tone(41.23)
    inputs = VibeVoiceAcousticTokenizerFeatureExtractor()([samples], sampling_rate=24_000)
    parts, config = model.model, model.config
    with torch.no_grad():
        whole = model.get_audio_features(**inputs).pooler_output
    context = context_tokens(
        HOP, config.acoustic_tokenizer_encoder_config, config.semantic_tokenizer_encoder_config
    )
    windows = cut(normalize(samples, HOP), HOP, 45, context)
    audio = [torch.from_numpy(window.samples) for window in windows]
    found: dict[int, torch.Tensor] = {}
    with torch.no_grad():
        for batch in batches([len(row) for row in audio], rows):
            chosen = [audio[i] for i in batch]
            acoustic = encode(parts.acoustic_tokenizer_encoder, chosen, HOP)
            semantic = encode(parts.semantic_tokenizer_encoder, chosen, HOP)
            for i, a, s in zip(batch, acoustic, semantic, strict=True):
                own = windows[i].tokens
                found[i] = parts.multi_modal_projector(a[-own:], s[-own:])
    together = torch.cat([found[i] for i in range(len(windows))])
    assert len(windows) == 7
    assert together.shape == whole.shape
    scale = whole.abs().max()
    assert (together - whole).abs().max() < 1e-5 * scale


def test_batches_hold_windows_of_about_equal_length() -> None:
    """Every window is in one batch, none is much shorter than another there, none has too many."""
    lengths = [300, 10, 225, 283, 283, 11, 283, 283, 283, 1]
    found = list(batches(lengths, rows=3))
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    for batch in found:
        chosen = [lengths[i] for i in batch]
        assert len(batch) <= 3
        assert max(chosen) <= 1.25 * min(chosen)
    assert max(len(batch) for batch in found) == 3


def test_noise_depends_on_the_recording_alone() -> None:
    """The same window draws the same noise; another window or recording draws other noise."""
    latents = torch.zeros(9, 4)
    seed = 7 << 20 | 3
    assert torch.equal(noise(latents, 0.6, seed), noise(latents, 0.6, seed))
    assert not torch.equal(noise(latents, 0.6, seed), noise(latents, 0.6, seed + 1))
    assert not torch.equal(noise(latents, 0.6, seed), noise(latents, 0.6, seed + (1 << 20)))


def test_noise_deviation_is_one_per_recording() -> None:
    """Windows of a recording share the deviation of their noise, as transformers draws it."""
    latents = torch.zeros(4000, 4)
    deviations = [noise(latents, 0.6, 7 << 20 | start).std() for start in range(3)]
    torch.testing.assert_close(deviations[1], deviations[0], rtol=0.03, atol=0)
    torch.testing.assert_close(deviations[2], deviations[0], rtol=0.03, atol=0)
