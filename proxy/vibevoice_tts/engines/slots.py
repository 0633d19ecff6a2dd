"""State of several requests in one batch, each row at its own position of its own sequence.

A request owns a *slot* from joining to leaving. Every forward pass runs over the slots that take
part in it. Nothing has to be padded or moved when a request joins or leaves; a row that has nothing
to add writes to positions that its next real input overwrites.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from transformers import Qwen2Config

_LENGTH_STEP = 512
"""Positions by which the buffers grow at least: growing copies their whole content."""


class KeyValueSlots:
    """Keys and values of a Qwen2 decoder, slot by slot: the `past_key_values` of one forward pass
    at a time.

    `select` chooses the slots of the next pass and returns its mask and positions; after the pass,
    `advance` tells how many of the new positions count.
    """

    def __init__(self, config: Qwen2Config, dtype: torch.dtype, device: torch.device) -> None:
        self._dtype, self._device = dtype, device
        self._heads = config.num_key_value_heads or config.num_attention_heads
        self._head_size = config.hidden_size // config.num_attention_heads
        self._layers = config.num_hidden_layers
        self._buffers = self._empty(0, 0)
        self._lengths: dict[int, int] = {}
        self._rows: torch.Tensor | slice = slice(0, 0)
        self._targets: tuple[torch.Tensor, torch.Tensor]
        """Slots [rows, 1] and positions [rows, new] that the next pass writes to."""
        self._visible = 0

    def fits(self, prefix: torch.Tensor) -> bool:
        """Whether keys and values come from a decoder of the same shape; see `start`."""
        return (*prefix.shape[:3], prefix.shape[4]) == (
            *(self._layers, 2, self._heads),
            self._head_size,
        )

    def start(self, slot: int, prefix: torch.Tensor | None = None) -> None:
        """Take a slot, or clear it. It starts empty or with a computed `prefix`: keys and values
        of every layer, [layers, 2, heads, positions, head size]."""
        self._lengths[slot] = 0
        if prefix is not None:
            length = prefix.shape[3]
            self._fit(slot + 1, length)
            self._buffers[:, :, slot, :, :length] = prefix.to(self._device, self._dtype)
            self._lengths[slot] = length

    def free(self, slot: int) -> None:
        """Release a slot, and with the last one the memory."""
        del self._lengths[slot]
        if not self._lengths:
            self._buffers = self._empty(0, 0)

    def length(self, slot: int) -> int:
        """Positions in use in a slot."""
        return self._lengths[slot]

    def select(self, slots: Sequence[int], new: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose the rows of the next forward pass, which adds `new` positions to each.

        Returns the additive attention mask, [rows, 1, new, positions], and the position ids,
        [rows, new].
        """
        lengths = torch.tensor([self._lengths[slot] for slot in slots], device=self._device)
        positions = lengths[:, None] + torch.arange(new, device=self._device)
        self._visible = max(self._lengths[slot] for slot in slots) + new
        self._fit(max(slots) + 1, self._visible)
        index = torch.tensor(slots, device=self._device)
        self._targets = index[:, None], positions
        # slots in order from 0 are read in place; any other choice is copied into one tensor
        self._rows = slice(0, len(slots)) if list(slots) == list(range(len(slots))) else index
        later = torch.arange(self._visible, device=self._device) > positions[:, :, None]
        mask = torch.zeros(later.shape, dtype=self._dtype, device=self._device)
        return mask.masked_fill_(later, torch.finfo(self._dtype).min)[:, None], positions

    def advance(self, slots: Sequence[int], new: Sequence[int]) -> None:
        """Count the first `new` positions that the last pass added to each slot."""
        for slot, count in zip(slots, new, strict=True):
            self._lengths[slot] += count

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store a layer's new keys and values, [rows, heads, new, head size], and return all of the
        rows, [rows, heads, positions, head size]. Called by the attention layers."""
        slots, positions = self._targets
        all_keys, all_values = self._buffers[layer]
        all_keys[slots, :, positions] = keys.transpose(1, 2)
        all_values[slots, :, positions] = values.transpose(1, 2)
        rows, visible = self._rows, self._visible
        return all_keys[rows, :, :visible], all_values[rows, :, :visible]

    def _empty(self, slots: int, length: int) -> torch.Tensor:
        shape = (self._layers, 2, slots, self._heads, length, self._head_size)
        return torch.zeros(shape, dtype=self._dtype, device=self._device)

    def _fit(self, slots: int, length: int) -> None:
        """Make the buffers large enough for so many slots and positions."""
        old = self._buffers
        old_slots, old_length = old.shape[2], old.shape[4]
        if slots <= old_slots and length <= old_length:
            return
        if length > old_length:
            length = max(length, old_length + max(_LENGTH_STEP, old_length // 2))
        self._buffers = self._empty(max(slots, old_slots), max(length, old_length))
        self._buffers[:, :, :old_slots, :, :old_length] = old


class Convolution(Protocol):
    """A causal convolution of an acoustic decoder or encoder."""

    left_pad: int
    """Samples of left context that it needs."""


class ConvolutionSlots:
    """Left context of every causal convolution of an acoustic decoder or encoder, slot by slot:
    its `padding_cache` for one forward pass at a time."""

    def __init__(self) -> None:
        self._contexts: dict[str, torch.Tensor] = {}  # [slots, channels, samples]
        self._slots: list[int] = []
        self._fresh: set[int] = set()

    def reset(self, slot: int) -> None:
        """Start a slot in silence."""
        self._fresh.add(slot)

    def select(self, slots: Sequence[int]) -> None:
        """Choose the rows of the next forward pass."""
        self._slots = list(slots)
        for slot in self._fresh.intersection(slots):
            for context in self._contexts.values():
                if slot < context.shape[0]:
                    context[slot] = 0
        self._fresh.difference_update(slots)

    def update(self, samples: torch.Tensor, key: str, convolution: Convolution) -> torch.Tensor:
        """Put a convolution's left context before its new input, [rows, channels, samples], and
        remember the end of both. Called by the convolutions."""
        length = convolution.left_pad
        context = self._contexts.get(key)
        needed = max(self._slots) + 1
        if context is None:
            context = samples.new_zeros(needed, samples.shape[1], length)
        elif context.shape[0] < needed:
            more = context.new_zeros(needed - context.shape[0], *context.shape[1:])
            context = torch.cat([context, more])
        padded = torch.cat([context[self._slots], samples], dim=-1)
        context[self._slots] = padded[..., padded.shape[-1] - length :]
        self._contexts[key] = context
        return padded
