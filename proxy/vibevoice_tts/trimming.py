"""Trims and fades the ends of a passage for even pauses without clicks, and detects silence."""

import numpy as np

from vibevoice_tts.speech_model import Samples

SILENCE = 0.004
"""Amplitude below which audio counts as silent: -48 dBFS, above the noise that the models leave in
pauses and some 30 dB below speech."""
HEAD_SECONDS = 0.05
"""Silence kept before the first sound of a passage, so that a soft beginning is not cut."""
TAIL_SECONDS = 0.25
"""Silence kept after the last sound of a passage; together with the head of the next passage, it
makes a pause like that between sentences."""
FADE_SECONDS = 0.005
"""Length of the fade at both ends of a passage; the shortest that avoids a click."""


class PassageAudio:
    """Trims the silence at both ends of one passage and fades the ends, chunk by chunk.

    Silence is held back until sound follows. That way, silence at the end can be cut, and a silent
    passage is detected before any of it is sent.
    """

    def __init__(self, sample_rate: int) -> None:
        self._head = round(HEAD_SECONDS * sample_rate)
        self._tail = round(TAIL_SECONDS * sample_rate)
        self._fade = np.linspace(0, 1, round(FADE_SECONDS * sample_rate), dtype=np.float32)
        self._pending: list[Samples] = []
        self.heard = False
        """Whether there has been any sound so far."""

    def feed(self, samples: Samples) -> Samples:
        """Add `samples` and return the audio that can be sent; empty while all is silent."""
        loud = np.flatnonzero(np.abs(samples) > SILENCE)
        if not len(loud):
            self._pending.append(samples)
            return np.zeros(0, np.float32)
        pending = np.concatenate([*self._pending, samples])
        before = len(pending) - len(samples)
        start = 0
        if not self.heard:
            self.heard = True
            start = max(before + int(loud[0]) - self._head, 0)
            pending[start : start + len(self._fade)] *= self._fade[: len(pending) - start]
        # Keep the last few samples for the fade, in case nothing follows.
        end = max(min(before + int(loud[-1]) + 1, len(pending) - len(self._fade)), start)
        self._pending = [pending[end:]]
        return pending[start:end]

    def finish(self) -> Samples:
        """The rest of the passage: its final silence, equally long in every passage."""
        rest = np.concatenate([np.zeros(0, np.float32), *self._pending])[: self._tail]
        fade = self._fade[: len(rest)]
        rest[len(rest) - len(fade) :] *= fade[::-1]
        return np.pad(rest, (0, self._tail - len(rest)))

    @property
    def pending(self) -> int:
        """Samples held back so far: silence, and a few for the fade."""
        return sum(len(samples) for samples in self._pending)
