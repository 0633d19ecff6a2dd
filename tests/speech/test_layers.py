"""The layers for frame-by-frame speech give the same results as those of transformers."""

import pytest
import torch
from torch import nn
from transformers.models.vibevoice_acoustic_tokenizer import (
    VibeVoiceAcousticTokenizerConfig,
    VibeVoiceAcousticTokenizerDecoderModel,
)
from transformers.models.vibevoice_acoustic_tokenizer.modeling_vibevoice_acoustic_tokenizer import (
    VibeVoiceAcousticTokenizerCausalConv1d,
    VibeVoiceAcousticTokenizerCausalConvTranspose1d,
    VibeVoiceAcousticTokenizerConv1dPaddingCache,
)

from vibevoice_tts.engines.layers import (
    Downsampling,
    NarrowLinear,
    Upsampling,
    fuse,
    narrow_linears,
)
from vibevoice_tts.engines.slots import ConvolutionSlots

ROWS, IN, OUT, STRIDE = 3, 6, 4, 5
FRAMES = 4


@pytest.mark.parametrize("positions", [1, 2])
def test_upsampling_continues_as_the_original(positions: int) -> None:
    """The results are equal frame by frame, starting from silence."""
    original = VibeVoiceAcousticTokenizerCausalConvTranspose1d(IN, OUT, 2 * STRIDE, "up", STRIDE)
    ours, slots = Upsampling(original), ConvolutionSlots(ROWS, torch.device("cpu"))
    slots.select(range(ROWS))
    theirs = VibeVoiceAcousticTokenizerConv1dPaddingCache()
    with torch.inference_mode():
        for _ in range(FRAMES):
            frame = torch.randn(ROWS, IN, positions)
            torch.testing.assert_close(ours(frame, slots), original(frame, theirs))
    assert set(ours.state_dict()) == set(original.state_dict())


@pytest.mark.parametrize("positions", [1, 2])
def test_downsampling_continues_as_the_original(positions: int) -> None:
    """The results are equal frame by frame, starting from silence."""
    original = VibeVoiceAcousticTokenizerCausalConv1d(IN, OUT, 2 * STRIDE, "down", STRIDE)
    ours, slots = Downsampling(original), ConvolutionSlots(ROWS, torch.device("cpu"))
    slots.select(range(ROWS))
    theirs = VibeVoiceAcousticTokenizerConv1dPaddingCache()
    with torch.inference_mode():
        for _ in range(FRAMES):
            frame = torch.randn(ROWS, IN, positions * STRIDE)
            torch.testing.assert_close(ours(frame, slots), original(frame, theirs))
    assert set(ours.state_dict()) == set(original.state_dict())


def test_other_kernels_are_refused() -> None:
    """A model with longer kernels would need more context than is kept."""
    original = VibeVoiceAcousticTokenizerCausalConvTranspose1d(IN, OUT, 3 * STRIDE, "up", STRIDE)
    with pytest.raises(ValueError, match="two strides"):
        Upsampling(original)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1,), (2,), (3,), (4,), (2, 1), (1, 3), (2, 3)])
def test_narrow_linear_is_linear(shape: tuple[int, ...], bias: bool) -> None:
    """The results are equal for few and many rows, in any arrangement."""
    linear = nn.Linear(IN, OUT, bias=bias)
    inputs = torch.randn(*shape, IN)
    with torch.inference_mode():
        torch.testing.assert_close(NarrowLinear(linear)(inputs), linear(inputs))


@pytest.mark.parametrize(
    ("dtype", "kind"), [(torch.float32, NarrowLinear), (torch.bfloat16, nn.Linear)]
)
def test_linears_are_narrowed_in_float32_alone(dtype: torch.dtype, kind: type) -> None:
    """In half precision, the library's own implementation is faster; names stay the same."""
    inner = nn.Sequential(nn.Linear(OUT, IN))
    model = nn.Sequential(nn.Linear(IN, OUT), inner).to(dtype)
    names = set(model.state_dict())
    narrow_linears(model)
    assert isinstance(model[0], kind) and isinstance(inner[0], kind)
    assert set(model.state_dict()) == names


@torch.inference_mode()
def test_fused_decoder_is_the_original() -> None:
    """Norms and blocks give the same audio; names stay the same, and every norm is replaced."""
    config = VibeVoiceAcousticTokenizerConfig(
        hidden_size=IN, num_filters=4, downsampling_ratios=[2, 2], depths=[1, 2, 1]
    )
    decoder = VibeVoiceAcousticTokenizerDecoderModel(config.decoder_config).eval()
    for weight in decoder.parameters():
        weight.normal_(0, 0.3)
    latents = torch.randn(ROWS, IN, FRAMES)
    theirs, names = decoder(latents).audio, set(decoder.state_dict())
    fuse(decoder)
    torch.testing.assert_close(decoder(latents).audio, theirs)
    assert set(decoder.state_dict()) == names
    kinds = {type(module).__name__ for module in decoder.modules()}
    assert {"Block", "RMSNorm"} <= kinds
    assert not [kind for kind in kinds if kind.endswith(("TokenizerRMSNorm", "ConvNext1dLayer"))]
