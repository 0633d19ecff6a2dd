"""The requests inside an engine: a row of the batch each, from joining to leaving."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from vibevoice_tts.diffusion import Denoiser
from vibevoice_tts.sampling import Sampling


@dataclass(eq=False)
class Row:
    """A request inside, guided by a branch that knows its text and one that does not."""

    handle: int
    slot: int
    sampling: Sampling
    positive: torch.Tensor
    """Last hidden state with the text, [hidden]."""
    negative: torch.Tensor
    """Last hidden state without the text, [hidden]."""
    frames: int = 0
    """Frames made so far."""

    @property
    def with_text(self) -> int:
        """Slot of the branch with the text, where both branches have one."""
        return 2 * self.slot

    @property
    def without_text(self) -> int:
        """Slot of the branch without."""
        return 2 * self.slot + 1


AnyRow = TypeVar("AnyRow", bound=Row)


class Rows(Generic[AnyRow]):
    """At most `capacity` rows, in the order of their slots."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._rows: list[AnyRow] = []
        self._handles = 0

    def __iter__(self) -> Iterator[AnyRow]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, row: object) -> bool:
        return row in self._rows

    def check_room(self) -> None:
        """Raises RuntimeError when there is no place for another row."""
        if len(self._rows) >= self._capacity:
            raise RuntimeError("all places are taken")

    def next_place(self) -> tuple[int, int]:
        """The handle and the slot of the next row."""
        self._handles += 1
        taken = {row.slot for row in self._rows}
        return self._handles, next(n for n in range(self._capacity) if n not in taken)

    def add(self, row: AnyRow) -> None:
        """Let a row in."""
        self._rows = sorted([*self._rows, row], key=lambda row: row.slot)

    def remove(self, row: AnyRow) -> None:
        """Let a row go."""
        self._rows.remove(row)

    def of(self, handle: int) -> AnyRow | None:
        """The row of a handle, if it is inside."""
        return next((row for row in self._rows if row.handle == handle), None)


def next_latents(denoise: Denoiser, rows: Sequence[Row], size: int) -> torch.Tensor:
    """The next latent of every row, [rows, size], each drawn and guided as its request wants."""
    positive = torch.stack([row.positive for row in rows])
    noise = torch.stack([row.sampling.noise(size) for row in rows])
    return denoise(
        positive,
        torch.stack([row.negative for row in rows]),
        noise.to(positive.device, positive.dtype),
        [row.sampling.cfg_scale for row in rows],
        [row.sampling.steps for row in rows],
    )
