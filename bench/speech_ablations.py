"""What the optimisations of speech are worth: how to do without each, for `bench/speech.py`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch

from vibevoice_tts.engines import layers
from vibevoice_tts.engines.longform import Full
from vibevoice_tts.engines.longform_model import FullModel
from vibevoice_tts.engines.realtime import Realtime
from vibevoice_tts.engines.realtime_model import RealtimeModel
from vibevoice_tts.engines.slots import ConvolutionSlots, KeyValueSlots


@contextmanager
def separate_passes() -> Iterator[None]:
    """Each branch of the guidance in a forward pass of its own."""

    def apart(original: Callable[..., torch.Tensor], place: int) -> Callable[..., torch.Tensor]:
        def read(model: Any, inputs: torch.Tensor, *rest: Any) -> torch.Tensor:
            slots = rest[place]
            if len(slots) == 1 or not any(slot % 2 for slot in slots):
                return original(model, inputs, *rest)
            halves = [
                original(model, inputs[n::2], *rest[:place], slots[n::2], *rest[place + 1 :])
                for n in range(2)
            ]
            return torch.stack(halves, 1).flatten(0, 1)

        return read

    with (
        patch.object(RealtimeModel, "read", apart(RealtimeModel.read, 1)),
        patch.object(FullModel, "read", apart(FullModel.read, 0)),
    ):
        yield


@contextmanager
def growing_cache() -> Iterator[None]:
    """Keys and values joined anew at every layer and step, as transformers' DynamicCache does."""
    original = KeyValueSlots.update

    def update(slots: KeyValueSlots, keys: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, ...]:
        new = keys.shape[2]
        return tuple(
            torch.cat([held[:, :, :-new], held[:, :, -new:]], dim=2)
            for held in original(slots, keys, *rest)
        )

    with patch.object(KeyValueSlots, "update", update):
        yield


class _Context:
    """Asks for the left context of the original convolution, apart from ours."""

    def __init__(self, length: int) -> None:
        self.left_pad = length


@contextmanager
def library_convolutions() -> Iterator[None]:
    """The two largest convolutions by the library's routines, over the original's context."""
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
    """A chunk is handed out when the model has read it, not when it is made."""
    realtime, full = Realtime.step, Full.step

    def realtime_step(engine: Any) -> list[Any]:
        events = realtime(engine)
        with torch.inference_mode():
            return events + engine._hear([row for row in engine._rows if row.unheard is not None])

    def full_step(engine: Any) -> list[Any]:
        events = full(engine)
        with torch.inference_mode():
            engine._read([row for row in engine._rows if row.unread is not None])
        return events

    with patch.object(Realtime, "step", realtime_step), patch.object(Full, "step", full_step):
        yield


@contextmanager
def whole_vocabulary() -> Iterator[None]:
    """Logits of every token (1.5B alone)."""
    original = FullModel.choose

    def choose(model: Any, hidden: torch.Tensor, tokens: list[int]) -> list[int]:
        torch.nn.functional.linear(hidden, model._model.lm_head.weight).float()
        return original(model, hidden, tokens)

    with patch.object(FullModel, "choose", choose):
        yield


WITHOUT = {
    "shared-pass": separate_passes,
    "kept-cache": growing_cache,
    "products": library_convolutions,
    "narrow": partial(patch.object, layers, "NARROW", ()),
    "early-chunk": late_chunks,
    "few-tokens": whole_vocabulary,
}
"""Optimisation → how to do without."""
FULL_ALONE = "few-tokens"
"""The one that the Realtime model has no use for."""
