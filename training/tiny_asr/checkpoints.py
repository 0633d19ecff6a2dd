"""Saves and restores the state of a training phase, so that it can resume after an interruption."""

from pathlib import Path
from typing import Any, Protocol

import torch


class Part(Protocol):
    """A model, heads, an optimizer, or a schedule."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


def save(path: Path, step: int, **parts: Part) -> None:
    """Write what is needed to resume at `step`. The old file is only replaced by a complete one."""
    write({"step": step, **{name: part.state_dict() for name, part in parts.items()}}, path)


def resume(path: Path, **parts: Part) -> int:
    """Load what `save` wrote and return its step; without a file, return 0 and load nothing."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["step"]


def write(content: Any, path: Path) -> None:
    """`torch.save`, atomically."""
    unfinished = path.with_suffix(".tmp")
    torch.save(content, unfinished)
    unfinished.replace(path)
