"""Mixes several channels into one without losing any of them.

A plain average nearly loses a voice that is on one channel of many, and all of two channels that
cancel each other out. So the average is used only where it preserves the energy of the loudest
channel; elsewhere that channel is used alone.
"""

import numpy as np
from numpy.typing import NDArray

BLOCK_SECONDS = 0.1
"""Length of a block. Weights are chosen per block and change linearly within it, to avoid
clicks."""
KEPT = 1 / 8
"""Minimum energy of the average, relative to the loudest channel: -9 dB. A voice on one of two
channels has -6 dB in the average, and unrelated channels have more."""
MEMORY = 0.5
"""Weight of the previous block's energies."""
_WEIGHTS = {"FC": 2.0, "LFE": 0.0}
"""Weight by FFmpeg's channel name; 1 for all others. Films have their dialog on the center channel
and no speech on the low-frequency effects channel."""


class Mixer:
    """Mixes the channels of one stream."""

    def __init__(self, channels: list[str], rate: int) -> None:
        """`channels`: FFmpeg's name of each channel; `rate` in Hz."""
        weights = np.array([_WEIGHTS.get(name, 1.0) for name in channels], np.float32)
        if not weights.any():
            weights[:] = 1.0
        self._average = weights / weights.sum()
        self._preference = np.where(weights > 0, 1.0, 1e-6)[:, None]
        """Factors for choosing a channel; the effects channel only if all others are silent."""
        self._alone = np.eye(len(channels), dtype=np.float32)
        self._block = max(1, round(BLOCK_SECONDS * rate))
        self._before: NDArray[np.float32] | None = None
        """Weights of the previous block."""
        self._energies = np.zeros((len(channels) + 1, 1), np.float32)
        """Energies of the previous block: of each channel, and of the average."""

    def mix(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """`samples`, shape (channels, samples), at least one → (samples,)."""
        average = self._average @ samples
        starts = np.arange(0, samples.shape[1], self._block)
        rows = np.concatenate([samples, average[None]])
        energies = np.add.reduceat(rows * rows, starts, axis=1)
        recent = energies + MEMORY * np.concatenate([self._energies, energies[:, :-1]], axis=1)
        self._energies = energies[:, -1:]
        loudest = np.argmax(recent[:-1] * self._preference, axis=0)
        is_kept = recent[-1] >= KEPT * recent[loudest, np.arange(len(starts))]
        if is_kept.all() and (self._before is None or self._before is self._average):
            self._before = self._average
            return average
        blocks = []
        for start, kept, channel in zip(starts, is_kept, loudest, strict=True):
            weights = self._average if kept else self._alone[channel]
            before = weights if self._before is None else self._before
            blocks.append(_blend(samples[:, start : start + self._block], before, weights))
            self._before = weights
        return np.concatenate(blocks)


def _blend(
    samples: NDArray[np.float32], before: NDArray[np.float32], after: NDArray[np.float32]
) -> NDArray[np.float32]:
    """`samples`, mixed with weights from `before` at the start of the block to `after` at its
    end."""
    share = np.linspace(0, 1, samples.shape[1], dtype=np.float32)
    return ((before @ samples) * (1 - share) + (after @ samples) * share).astype(np.float32)
