"""Estimates what a computation costs on a GPU, by counting on tensors of the meta device."""

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten


class Operations(TorchDispatchMode):
    """Counts the operations that PyTorch dispatches inside the block; each is about one kernel.

    Use it in `torch.inference_mode`. Views do not count. Three things are counted as on CUDA, where
    the meta device differs: `rms_norm` is one operation; a convolution keeps channels last if its
    input does; and a convolution's bias is a separate operation, as with cuDNN, unless the
    convolution is depthwise with time last, which PyTorch computes itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.bytes = 0
        """Bytes read and written: every input and output tensor, once per operation."""
        self.peak = 0
        """Maximum bytes of tensors created in this block that were alive at the same time."""
        self._live: dict[weakref.ref[Any], int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not aten.rms_norm.default:
            with self:
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        given = _tensors((args, kwargs))
        made = func(*args, **kwargs)
        if func is aten.convolution.default:
            last = given[0].is_contiguous(memory_format=torch.channels_last)
            if last:
                made = made.contiguous(memory_format=torch.channels_last)
            if args[2] is not None and (last or args[8] == 1):
                self._count([made, made])
        if not func.is_view:
            self._count([*given, *_tensors(made)])
            for tensor in _tensors(made):
                self._watch(tensor.untyped_storage())
        return made

    def _count(self, tensors: Sequence[torch.Tensor]) -> None:
        self.number += 1
        self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def _watch(self, storage: torch.UntypedStorage) -> None:
        self._live.setdefault(weakref.ref(storage, self._live.pop), storage.nbytes())
        self.peak = max(self.peak, sum(self._live.values()))


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
