"""Windows of a recording give the same result as transformers' encoders on the whole recording."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tests.support.engine import TINY
from tests.support.operations import Operations
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
from vibevoice_vllm.encoder import (
    arranged,
    batches,
    context_samples,
    context_tokens,
    encode,
    fixed_length,
    noise,
    stacked,
)

HOP = 3200
PUBLISHED = VibeVoiceAcousticTokenizerEncoderConfig()
"""Config of the published acoustic encoder; the semantic one differs in its width, 128."""
BLOCKS = sum(PUBLISHED.depths)
CONVOLUTIONS = len(PUBLISHED.depths) + 1
"""Operations outside of the blocks."""
WINDOW, CONTEXT = 225, 58
"""Number of tokens in a whole window, and in its context."""


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
    """A token depends on the sample `context_samples` before its hop, but not on earlier ones."""
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


@pytest.fixture(scope="module", params=[64, 128], ids=["acoustic", "semantic"])
def encoder(request: pytest.FixtureRequest) -> Any:
    """An encoder as deep as the published ones and an eighth as wide, with all its weights in
    use."""
    torch.manual_seed(0)
    config = VibeVoiceAcousticTokenizerEncoderConfig(num_filters=4, hidden_size=request.param)
    encoder = VibeVoiceAcousticTokenizerEncoderModel(config).eval()
    for name, parameter in encoder.named_parameters():
        if "gamma" in name or "norm" in name:
            torch.nn.init.uniform_(parameter, 0.2, 1.2)
        elif parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.1)
        else:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return arranged(encoder)


def reference(encoder: Any, audio: torch.Tensor) -> torch.Tensor:
    """transformers' own computation."""
    with torch.no_grad():
        return encoder(audio[:, None]).latents


@pytest.mark.parametrize("tokens", [1, 2, 11])
@pytest.mark.parametrize("rows", [1, 3])
def test_latents_are_those_of_transformers(encoder: Any, tokens: int, rows: int) -> None:
    """Differences are due to rounding: at most 3e-6 of the largest value, in float32."""
    audio = 0.1 * torch.randn(rows, tokens * HOP)
    expected, found = reference(encoder, audio), encode(encoder, audio)
    assert found.shape == expected.shape == (rows, tokens, encoder.config.hidden_size)
    assert found.is_contiguous() or rows > 1
    assert (found - expected).abs().max() < 3e-6 * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_are_as_exact_as_transformers(encoder: Any, dtype: torch.dtype) -> None:
    """The error relative to float32 is not larger than transformers'."""
    audio = (0.1 * torch.randn(2, 5 * HOP)).to(dtype)
    exact = reference(encoder, audio.float())
    half = copy.deepcopy(encoder).to(dtype)
    theirs, ours = (compute(half, audio).float() - exact for compute in (reference, encode))
    assert 0 < ours.square().mean() < 1.1 * theirs.square().mean()


def test_left_context_gives_what_the_recording_gives(encoder: Any) -> None:
    """The last tokens of a window with context equal those of the whole recording."""
    audio = 0.1 * torch.randn(1, (CONTEXT + 12) * HOP)
    whole = reference(encoder, audio)
    window = encode(encoder, audio[:, -(CONTEXT + 5) * HOP :])
    assert (window[:, -5:] - whole[:, -5:]).abs().max() < 3e-6 * whole.abs().max()
    without = encode(encoder, audio[:, -5 * HOP :])
    assert (without[:, -5:] - whole[:, -5:]).abs().max() > 1e-2 * whole.abs().max()


def test_windows_filled_up_in_a_batch_are_as_alone(encoder: Any) -> None:
    """Neither padding nor the other windows in a batch change a window's tokens."""
    windows = [0.1 * torch.randn(tokens * HOP) for tokens in (5, 3, 6)]
    together = encode(encoder, stacked(windows, 6 * HOP, torch.float32))
    for window, latents in zip(windows, together, strict=True):
        alone = encode(encoder, window[None])[0]
        assert (latents[: len(alone)] - alone).abs().max() < 3e-6 * alone.abs().max()


def test_arranged_weights_stay_so_when_a_checkpoint_is_loaded(encoder: Any) -> None:
    """Loaded weights are channels-last, with the same names and values."""
    weights = VibeVoiceAcousticTokenizerEncoderModel(encoder.config).state_dict()
    loaded: Any = arranged(VibeVoiceAcousticTokenizerEncoderModel(encoder.config))
    loaded.load_state_dict(weights)
    assert all(torch.equal(weights[name], value) for name, value in loaded.state_dict().items())
    weight = loaded.conv_layers[0].conv.conv.weight
    assert weight.unsqueeze(2).is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()


def test_another_activation_is_refused() -> None:
    """Without this check, the results would be wrong."""
    config = VibeVoiceAcousticTokenizerEncoderConfig(num_filters=1, hidden_act="relu")
    with pytest.raises(ValueError, match="Expected hidden_act gelu, got relu"):
        arranged(VibeVoiceAcousticTokenizerEncoderModel(config))


@pytest.mark.parametrize("rows", [1, 2])
def test_operations_and_memory_at_the_published_size(rows: int) -> None:
    """The numbers of operations and bytes are at most those in the docs, and several rows add only
    one operation per stage."""
    tokens = 20
    with torch.device("meta"):
        encoder = arranged(VibeVoiceAcousticTokenizerEncoderModel(PUBLISHED))
    audio = torch.empty(rows, tokens * HOP, device="meta")
    with torch.inference_mode(), Operations() as operations:
        encode(encoder, audio)
    stage = audio.numel() * PUBLISHED.num_filters * audio.element_size()
    copies = CONVOLUTIONS - 1 if rows > 1 else 0
    assert operations.number == 9 * BLOCKS + 2 * CONVOLUTIONS + copies
    assert operations.peak < 6.1 * stage


@pytest.mark.parametrize("window", [45, 225])
def test_windows_equal_the_whole(model: Any, window: int) -> None:
    """Embeddings of windows, encoded as in the engine, differ from transformers' own only by
    rounding."""
    samples = gliding_tone(31.23)
    inputs = VibeVoiceAcousticTokenizerFeatureExtractor()([samples], sampling_rate=24_000)
    parts, config = model.model, model.config
    with torch.no_grad():
        whole = model.get_audio_features(**inputs).pooler_output
    context = context_tokens(
        HOP, config.acoustic_tokenizer_encoder_config, config.semantic_tokenizer_encoder_config
    )
    windows = cut(normalize(samples, HOP), HOP, window, context)
    audio = [torch.from_numpy(window.samples) for window in windows]
    found: dict[int, torch.Tensor] = {}
    for length, batch in batches([len(row) // HOP for row in audio], window, context):
        rows = stacked([audio[i] for i in batch], length * HOP, torch.float32)
        acoustic = encode(parts.acoustic_tokenizer_encoder, rows)
        semantic = encode(parts.semantic_tokenizer_encoder, rows)
        for i, a, s in zip(batch, acoustic, semantic, strict=True):
            own = slice(len(audio[i]) // HOP - windows[i].tokens, len(audio[i]) // HOP)
            with torch.no_grad():
                found[i] = parts.multi_modal_projector(a[own], s[own])
    together = torch.cat([found[i] for i in range(len(windows))])
    assert together.shape == whole.shape
    scale = whole.abs().max()
    assert (together - whole).abs().max() < 1e-5 * scale


@pytest.mark.parametrize(
    "lengths",
    [
        pytest.param([283] * 7 + [225] * 3, id="whole-windows"),
        pytest.param([1] * 600, id="shortest"),
        pytest.param([283, 10, 225, 61, 283, 11, 59, 283, 60, 1], id="mixed"),
        pytest.param(range(1, 284), id="every-length"),
    ],
)
def test_a_batch_is_at_most_one_whole_window(lengths: Sequence[int]) -> None:
    """Every window is in one batch, with others of similar length. A batch is no larger than one
    whole window with its context, and no two batches could be merged."""
    found = list(batches(lengths, WINDOW, CONTEXT))
    assert sorted(i for _, batch in found for i in batch) == list(range(len(lengths)))
    for length, batch in found:
        assert len(batch) * length <= WINDOW + CONTEXT
        for i in batch:
            assert lengths[i] <= length <= max(1.125 * lengths[i], lengths[i] + 1)
    for length in {length for length, _ in found}:
        rows = [len(batch) for other, batch in found if other == length]
        assert sum(rows) > (len(rows) - 1) * ((WINDOW + CONTEXT) // length)


def test_lengths_are_few() -> None:
    """The fixed lengths include those of whole windows."""
    lengths = [fixed_length(n, WINDOW, WINDOW + CONTEXT) for n in range(1, WINDOW + CONTEXT + 1)]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) == 50
    assert {WINDOW, WINDOW + CONTEXT} < set(lengths)


def test_noise_depends_on_the_recording_alone() -> None:
    """The noise of a window is always the same; another window or recording has different noise."""
    latents = torch.zeros(9, 4)
    seed = 7 << 20 | 3
    assert torch.equal(noise(latents, 0.6, seed), noise(latents, 0.6, seed))
    assert not torch.equal(noise(latents, 0.6, seed), noise(latents, 0.6, seed + 1))
    assert not torch.equal(noise(latents, 0.6, seed), noise(latents, 0.6, seed + (1 << 20)))


def test_noise_deviation_is_one_per_recording() -> None:
    """The windows of a recording share the deviation of their noise, as in transformers."""
    latents = torch.zeros(4000, 4)
    deviations = [noise(latents, 0.6, 7 << 20 | start).std() for start in range(3)]
    torch.testing.assert_close(deviations[1], deviations[0], rtol=0.03, atol=0)
    torch.testing.assert_close(deviations[2], deviations[0], rtol=0.03, atol=0)
