"""Caches for several requests in one batch, where each row is at its own position in its sequence.

A request owns a *slot* from join to leave. Each forward pass runs over the slots that take part in
it. Nothing has to be padded or moved when a request joins or leaves; a row that has nothing to add
writes to positions that its next real input overwrites.

`select` sends the data that a pass needs about its slots to the device without waiting; `update`,
which every layer calls, only enqueues work there.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from transformers import Qwen2Config

from vibevoice_tts.engines.device import upload
from vibevoice_tts.engines.lru import Lru

_LENGTH_STEP = 512
"""Minimum number of positions by which the buffers grow, since growing copies all of them."""
_CACHED_CHOICES = 64
"""Number of slot selections whose indices stay on the device."""


class SlotNumbers:
    """Slot numbers on a device, uploaded once for each selection of slots."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._known: Lru[torch.Tensor] = Lru(_CACHED_CHOICES)

    def of(self, slots: Sequence[int]) -> torch.Tensor:
        """The numbers of the selected slots, [rows]."""
        return self._known.get(tuple(slots), lambda: upload(torch.tensor(slots), self._device))


def _in_order(slots: Sequence[int]) -> bool:
    """Whether the slots are 0, 1 and so on, which can be read in place; other selections are
    copied."""
    return list(slots) == list(range(len(slots)))


class KeyValueSlots:
    """Keys and values of a Qwen2 decoder, slot by slot: the `past_key_values` of one forward pass
    at a time.

    `select` selects the slots of the next pass and returns its mask and positions; after the pass,
    `advance` records how many of the new positions count.
    """

    def __init__(self, config: Qwen2Config, dtype: torch.dtype, device: torch.device) -> None:
        self._dtype, self._device = dtype, device
        self._heads = config.num_key_value_heads or config.num_attention_heads
        self._head_size = config.hidden_size // config.num_attention_heads
        self._layers = config.num_hidden_layers
        self._slots = self._positions = 0
        self._buffers: list[torch.Tensor] = []
        """One per layer, [2, slots, heads, positions, head size]: keys, then values."""
        self._empty()
        self._lengths: dict[int, int] = {}
        self._numbers = SlotNumbers(device)
        self._rows: torch.Tensor | slice = slice(0, 0)
        self._targets: tuple[torch.Tensor, torch.Tensor]
        """Slots [rows, 1] and positions [rows, new] that the next pass writes to."""
        self._visible = 0

    def fits(self, prefix: torch.Tensor) -> bool:
        """Whether the keys and values come from a decoder of the same shape; see `start`."""
        return (*prefix.shape[:3], prefix.shape[4]) == (
            *(self._layers, 2, self._heads),
            self._head_size,
        )

    def start(self, slot: int, prefix: torch.Tensor | None = None) -> None:
        """Allocate or clear a slot. It starts empty or with a precomputed `prefix`: the keys and
        values of all layers, [layers, 2, heads, positions, head size]."""
        self._lengths[slot] = 0
        if prefix is not None:
            length = prefix.shape[3]
            self._fit(slot + 1, length)
            for buffer, layer in zip(
                self._buffers, prefix.to(self._device, self._dtype), strict=True
            ):
                buffer[:, slot, :, :length] = layer
            self._lengths[slot] = length

    def free(self, slot: int) -> None:
        """Release a slot; releasing the last one frees the memory."""
        del self._lengths[slot]
        if not self._lengths:
            self._empty()

    def length(self, slot: int) -> int:
        """Positions in use in a slot."""
        return self._lengths[slot]

    def select(self, slots: Sequence[int], new: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Select the rows of the next forward pass, which adds `new` positions to each.

        Returns the additive attention mask, [rows, 1, new, positions], and the position ids,
        [rows, new].
        """
        lengths = torch.tensor([self._lengths[slot] for slot in slots])
        positions = upload(lengths[:, None] + torch.arange(new), self._device)
        self._visible = max(self._lengths[slot] for slot in slots) + new
        self._fit(max(slots) + 1, self._visible)
        numbers = self._numbers.of(slots)
        self._targets = numbers[:, None], positions
        self._rows = slice(0, len(slots)) if _in_order(slots) else numbers
        later = torch.arange(self._visible, device=self._device) > positions[:, :, None]
        mask = torch.zeros(later.shape, dtype=self._dtype, device=self._device)
        return mask.masked_fill_(later, torch.finfo(self._dtype).min)[:, None], positions

    def advance(self, slots: Sequence[int], new: Sequence[int]) -> None:
        """Keep the first `new` positions that the last pass added to each slot."""
        for slot, count in zip(slots, new, strict=True):
            self._lengths[slot] += count

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store a layer's new keys and values, [rows, heads, new, head size], and return all keys
        and values of the rows, [rows, heads, positions, head size]. Called by attention layers."""
        slots, positions = self._targets
        buffer = self._buffers[layer]
        buffer[:, slots, :, positions] = torch.stack([keys, values]).permute(1, 3, 0, 2, 4)
        visible = buffer[:, :, :, : self._visible]
        if isinstance(self._rows, slice):
            every_key, every_value = visible[:, self._rows]
        else:
            every_key, every_value = visible.index_select(1, self._rows)
        return every_key, every_value

    def _empty(self) -> None:
        self._slots = self._positions = 0
        self._buffers = [self._buffer() for _ in range(self._layers)]

    def _buffer(self) -> torch.Tensor:
        shape = (2, self._slots, self._heads, self._positions, self._head_size)
        return torch.zeros(shape, dtype=self._dtype, device=self._device)

    def _fit(self, slots: int, length: int) -> None:
        """Grow the buffers to at least `slots` slots and `length` positions, layer by layer, so
        that at most one of them is in memory twice."""
        old_slots, old_length = self._slots, self._positions
        if slots <= old_slots and length <= old_length:
            return
        if length > old_length:
            length = max(length, old_length + max(_LENGTH_STEP, old_length // 2))
        self._slots, self._positions = max(slots, old_slots), max(length, old_length)
        for layer, old in enumerate(self._buffers):
            new = self._buffer()
            new[:, :old_slots, :, :old_length] = old
            self._buffers[layer] = new


class Convolution(Protocol):
    """A causal convolution of an acoustic decoder or encoder."""

    left_pad: int
    """Number of samples of left context that it needs."""


class ConvolutionSlots:
    """Left context of every causal convolution of an acoustic decoder or encoder, slot by slot:
    its `padding_cache` for one forward pass at a time.

    Memory for every slot is allocated at the first pass (0.6 MB per slot in float32 for the
    Realtime decoder) and is never moved.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        self._capacity = capacity
        self._numbers = SlotNumbers(device)
        self._contexts: dict[str, torch.Tensor] = {}  # [capacity, channels, samples]
        self._targets = torch.empty(0)
        """Numbers of the selected slots, [rows], on the device."""
        self._rows: slice | None = None
        """The selected slots if they are the first ones."""
        self._fresh: set[int] = set()

    def reset(self, slot: int) -> None:
        """Reset a slot to silence."""
        self._fresh.add(slot)

    def select(self, slots: Sequence[int]) -> None:
        """Select the rows of the next forward pass."""
        self._targets = self._numbers.of(slots)
        self._rows = slice(0, len(slots)) if _in_order(slots) else None
        if fresh := sorted(self._fresh.intersection(slots)):
            numbers = self._numbers.of(fresh)
            for context in self._contexts.values():
                context.index_fill_(0, numbers, 0)
            self._fresh.difference_update(fresh)

    def update(self, samples: torch.Tensor, key: str, convolution: Convolution) -> torch.Tensor:
        """Prepend a convolution's left context to its new input, [rows, channels, samples], and
        store the end of the result. Called by the convolutions."""
        length = convolution.left_pad
        context = self._contexts.get(key)
        if context is None:
            shape = self._capacity, samples.shape[1], length
            context = self._contexts[key] = samples.new_zeros(shape)
        if self._rows is None:
            before = context.index_select(0, self._targets)
        else:
            before = context[self._rows]
        padded = torch.cat([before, samples], dim=-1)
        context.index_copy_(0, self._targets, padded[..., padded.shape[-1] - length :])
        return padded
