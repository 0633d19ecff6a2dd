"""Attention over shared keys and values without copies equals that of transformers."""

import pytest
import torch
from transformers import Qwen2Config
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention, eager_attention_forward

from vibevoice_tts.engines.attention import GROUPED, attention_name, grouped_attention

ROWS, HEADS, SHARED, SIZE, POSITIONS = 3, 14, 2, 8, 40


@torch.inference_mode()
@pytest.mark.parametrize("new", [1, 5])
def test_grouped_attention_is_attention(new: int) -> None:
    """This holds for rows of different lengths: masked positions have no weight."""
    config = Qwen2Config(
        hidden_size=HEADS * SIZE, num_attention_heads=HEADS, num_key_value_heads=SHARED
    )
    module = Qwen2Attention(config, 0).eval()
    query = torch.randn(ROWS, HEADS, new, SIZE)
    key, value = torch.randn(2, ROWS, SHARED, POSITIONS, SIZE)
    last = torch.tensor([10, 30, 25])[:, None] + torch.arange(new)
    later = torch.arange(POSITIONS) > last[:, :, None]
    mask = torch.zeros(later.shape).masked_fill_(later, torch.finfo().min)[:, None]
    ours, _ = grouped_attention(module, query, key, value, mask, scaling=module.scaling)
    for attend in (sdpa_attention_forward, eager_attention_forward):
        expected, _ = attend(module, query, key, value, mask, scaling=module.scaling)
        torch.testing.assert_close(ours, expected)


def test_eager_stays_eager() -> None:
    """The setting's other value selects transformers' own implementation."""
    assert [attention_name("sdpa"), attention_name("eager")] == [GROUPED, "eager"]
