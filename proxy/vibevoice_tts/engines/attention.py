"""Grouped-query attention for one new position per row, without copying keys and values."""

from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from vibevoice_tts.models import Attention

GROUPED = "vibevoice_grouped"
"""The name under which `grouped_attention` is registered with transformers."""


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' sdpa attention, except that a single new position does not copy keys and values
    for each of the heads that share them (7 in the 0.5B, 6 in the 1.5B model): those heads become
    rows of one query.

    `query` is [rows, heads, new, head size], `key` and `value` [rows, shared heads, positions, head
    size] and `attention_mask` [rows, 1, new, positions]; the result is [rows, new, heads, head
    size].
    """
    rows, heads, new, size = query.shape
    if new > 1:
        # The mask would have to be repeated as often as the keys are now.
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    attended = torch.nn.functional.scaled_dot_product_attention(
        query.view(rows, key.shape[1], -1, size),
        key,
        value,
        attn_mask=attention_mask,
        scale=options.get("scaling"),
    )
    return attended.reshape(rows, 1, heads, size), None


def attention_name(attention: Attention) -> str:
    """transformers' name for the attention implementation of a setting."""
    return GROUPED if attention == "sdpa" else attention


AttentionInterface.register(GROUPED, grouped_attention)
