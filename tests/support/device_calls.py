"""Counts a speech model's device operations and waits without a GPU.

A model is loaded on torch's meta device, which has shapes but no values. When the host requests
values, `counted` returns zeros and counts a wait, since the host would have to wait for a GPU.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
_FUSED = (aten.rms_norm.default, aten.scaled_dot_product_attention.default)
"""Composite operations that have a single kernel on a GPU, which torch would select by device."""
_ANSWER, _INDEX, _UPLOAD = "an answer", "an index", "an upload"


@dataclass
class Operations:
    """The counts."""

    kernels: int = 0
    """Operations that start work on the device."""
    views: int = 0
    """Operations that only reinterpret a tensor; they cost only host time."""
    uploads: int = 0
    """Copies to the device that the host does not wait for."""
    waits: Counter[str] = field(default_factory=Counter)
    """Reason why the host waited for the device → how often."""

    @property
    def total(self) -> int:
        """All operations that the host dispatched to the device."""
        return self.kernels + self.views + self.uploads + self.waits.total()


@contextmanager
def counted() -> Iterator[Operations]:
    """Count the operations and waits of the block on the meta device."""
    operations = Operations()
    with _Calls(operations), _Dispatch(operations):
        yield operations


class _Calls(TorchFunctionMode):
    """Counts copies that torch makes before dispatching: numbers in a list, given as an index or as
    the values of a new tensor."""

    def __init__(self, operations: Operations) -> None:
        super().__init__()
        self._operations = operations

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and args[0].is_meta:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            self._operations.waits[_INDEX] += sum(
                isinstance(part, list) or (isinstance(part, torch.Tensor) and not part.is_meta)
                for part in index
            )
        elif func in (torch.tensor, torch.as_tensor) and result.is_meta:
            self._operations.waits[_UPLOAD] += 1
        return result


class _Dispatch(TorchDispatchMode):
    """Counts everything that torch dispatches."""

    def __init__(self, operations: Operations) -> None:
        super().__init__()
        self._operations = operations

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _FUSED:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        if func is aten._local_scalar_dense.default and args[0].is_meta:
            self._operations.waits[_ANSWER] += 1
            return torch.zeros((), dtype=args[0].dtype).item()
        if func is aten._to_copy.default:
            device = torch.device(kwargs.get("device") or args[0].device)
            if args[0].is_meta and device.type == "cpu":
                self._operations.waits[_ANSWER] += 1
                return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
            if args[0].is_cpu and device.type == "meta":
                self._count_upload(kwargs.get("non_blocking", False))
                return func(*args, **kwargs)
        if func is aten.copy_.default and args[0].is_meta and args[1].is_cpu:
            self._count_upload(len(args) > 2 and args[2])
            return func(*args, **kwargs)
        result = func(*args, **kwargs)
        leaves = tree_leaves((args, kwargs, result))
        if any(leaf.is_meta for leaf in leaves if isinstance(leaf, torch.Tensor)):
            if _is_view(func):
                self._operations.views += 1
            else:
                self._operations.kernels += 1
        return result

    def _count_upload(self, non_blocking: bool) -> None:
        if non_blocking:
            self._operations.uploads += 1
        else:
            self._operations.waits[_UPLOAD] += 1


def _is_view(func: Any) -> bool:
    returns = func._schema.returns
    return bool(returns) and all(
        one.alias_info is not None and not one.alias_info.is_write for one in returns
    )
