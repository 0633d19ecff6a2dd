"""Tracks a model's requests in flight; each has one row of the batch from join to leave."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from vibevoice_tts.engines.device import upload
from vibevoice_tts.engines.diffusion import Denoiser
from vibevoice_tts.engines.sampling import Sampling


@dataclass(eq=False, kw_only=True)
class Row:
    """A request in flight, guided by one branch that sees its text and one that does not."""

    handle: int
    slot: int
    """Number of the row's slot; in caches for both branches, each branch has its own slot."""
    sampling: Sampling
    positive: torch.Tensor
    """Last hidden state of the branch with the text, [hidden]."""
    negative: torch.Tensor
    """Last hidden state of the branch without the text, [hidden]."""
    frames: int = 0
    """Frames made so far."""

    @property
    def with_text(self) -> int:
        """Slot of the branch with the text, in caches for both branches."""
        return 2 * self.slot

    @property
    def without_text(self) -> int:
        """Slot of the branch without the text."""
        return 2 * self.slot + 1


AnyRow = TypeVar("AnyRow", bound=Row)


class Rows(Generic[AnyRow]):
    """Holds at most `capacity` rows, in slot order."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._rows: list[AnyRow] = []
        self._handles = 0

    def __iter__(self) -> Iterator[AnyRow]:
        return iter(self._rows)

    def __contains__(self, row: object) -> bool:
        return row in self._rows

    def next_slot(self) -> tuple[int, int]:
        """A new handle and the first free slot; raises RuntimeError if none is free."""
        taken = {row.slot for row in self._rows}
        free = next((n for n in range(self._capacity) if n not in taken), None)
        if free is None:
            raise RuntimeError("all slots are in use")
        self._handles += 1
        return self._handles, free

    def add(self, row: AnyRow) -> None:
        """Add a row and mark its slot as used."""
        self._rows = sorted([*self._rows, row], key=lambda row: row.slot)

    def remove(self, row: AnyRow) -> None:
        """Remove a row and free its slot."""
        self._rows.remove(row)

    def of(self, handle: int) -> AnyRow | None:
        """The row for a handle; None if it has left."""
        return next((row for row in self._rows if row.handle == handle), None)


def next_latents(denoise: Denoiser, rows: Sequence[Row], size: int) -> torch.Tensor:
    """The next latent of each row, [rows, size], sampled with its request's parameters."""
    positive = torch.stack([row.positive for row in rows])
    noise = torch.stack([row.sampling.noise(size) for row in rows])
    return denoise(
        positive,
        torch.stack([row.negative for row in rows]),
        upload(noise.to(positive.dtype), positive.device),
        cfg_scales=[row.sampling.cfg_scale for row in rows],
        steps=[row.sampling.steps for row in rows],
    )
