"""The optimizations of speech synthesis, and how to disable each one, for `bench.speech`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch

from vibevoice_tts.engines import layers
from vibevoice_tts.engines.longform import Longform
from vibevoice_tts.engines.longform_model import LongformModel
from vibevoice_tts.engines.realtime import Realtime
from vibevoice_tts.engines.realtime_model import RealtimeModel
from vibevoice_tts.engines.slots import ConvolutionSlots, KeyValueSlots


@contextmanager
def separate_passes() -> Iterator[None]:
    """Each branch of the guidance in a separate forward pass."""

    def apart(original: Callable[..., torch.Tensor], position: int) -> Callable[..., torch.Tensor]:
        def read(model: Any, inputs: torch.Tensor, *rest: Any) -> torch.Tensor:
            slots = rest[position]
            if len(slots) == 1 or not any(slot % 2 for slot in slots):
                return original(model, inputs, *rest)
            halves = [
                original(model, inputs[n::2], *rest[:position], slots[n::2], *rest[position + 1 :])
                for n in range(2)
            ]
            return torch.stack(halves, 1).flatten(0, 1)

        return read

    with (
        patch.object(RealtimeModel, "read", apart(RealtimeModel.read, 1)),
        patch.object(LongformModel, "read", apart(LongformModel.read, 0)),
    ):
        yield


@contextmanager
def growing_cache() -> Iterator[None]:
    """Keys and values copied at every layer and step, like transformers' DynamicCache."""
    original = KeyValueSlots.update

    def update(slots: KeyValueSlots, keys: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, ...]:
        new = keys.shape[2]
        return tuple(
            torch.cat([both[:, :, :-new], both[:, :, -new:]], dim=2)
            for both in original(slots, keys, *rest)
        )

    with patch.object(KeyValueSlots, "update", update):
        yield


class _Context:
    """Requests the left context of the original convolution, which is longer than ours."""

    def __init__(self, length: int) -> None:
        self.left_pad = length


@contextmanager
def library_convolutions() -> Iterator[None]:
    """The two largest convolutions with the library's routines, over the original's context."""
    functional = torch.nn.functional

    def up(layer: Any, inputs: torch.Tensor, padding_cache: ConvolutionSlots) -> torch.Tensor:
        stride, length = layer.stride, inputs.shape[-1] * layer.stride
        context = _Context(2 * stride - 1)
        padded = padding_cache.update(inputs, f"{layer.cache_key}.library", context)
        samples = functional.conv_transpose1d(
            padded, layer.convtr.weight, layer.convtr.bias, stride=stride
        )
        return samples[..., :-stride][..., -length:]

    def down(layer: Any, inputs: torch.Tensor, padding_cache: ConvolutionSlots) -> torch.Tensor:
        return layer.conv(padding_cache.update(inputs, layer.cache_key, layer))

    with (
        patch.object(layers.Upsampling, "forward", up),
        patch.object(layers.Downsampling, "forward", down),
    ):
        yield


@contextmanager
def late_chunks() -> Iterator[None]:
    """A chunk is returned after the model has read it, not when it is computed."""
    realtime, longform = Realtime.step, Longform.step

    def realtime_step(model: Any) -> list[Any]:
        events = realtime(model)
        with torch.inference_mode():
            return events + model._read_frames([r for r in model._rows if r.unread is not None])

    def longform_step(model: Any) -> list[Any]:
        events = longform(model)
        with torch.inference_mode():
            model._read_tokens([row for row in model._rows if row.unread is not None])
        return events

    with (
        patch.object(Realtime, "step", realtime_step),
        patch.object(Longform, "step", longform_step),
    ):
        yield


@contextmanager
def whole_vocabulary() -> Iterator[None]:
    """Logits of every token (1.5B only)."""
    original = LongformModel.choose

    def choose(model: Any, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        torch.nn.functional.linear(hidden, model._model.lm_head.weight).float()
        return original(model, hidden, tokens)

    with patch.object(LongformModel, "choose", choose):
        yield


WITHOUT = {
    "shared-pass": separate_passes,
    "kept-cache": growing_cache,
    "products": library_convolutions,
    "narrow": partial(patch.object, layers, "NARROW", ()),
    "early-chunk": late_chunks,
    "few-tokens": whole_vocabulary,
}
"""Optimization → context manager that disables it."""
LONGFORM_ONLY = "few-tokens"
"""The optimization that does not apply to the Realtime model."""
