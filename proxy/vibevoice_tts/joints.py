"""The seams of speech made in pieces: equal pauses, no clicks, and a look at what was made."""

import numpy as np

from vibevoice_tts.engine import Samples

SILENCE = 0.004
"""Amplitude below which audio counts as silent: -48 dBFS, above the noise that the models leave in
pauses and some 30 dB below speech."""
HEAD_SECONDS = 0.05
"""Silence kept before the first sound of a piece, so that soft beginnings stay whole."""
TAIL_SECONDS = 0.25
"""Silence kept after the last sound of a piece; with the next piece's head a pause as between
sentences."""
FADE_SECONDS = 0.005
"""Length of the fade at both ends of a piece; as short as a fade can be without a click."""


class PieceAudio:
    """One piece of speech on its way, trimmed of silence at both ends and faded there.

    Silence is held back until sound follows, so that what turns out to be the end can be cut, and
    a piece that stays silent is known before anything of it was sent.
    """

    def __init__(self, sample_rate: int) -> None:
        self._head = round(HEAD_SECONDS * sample_rate)
        self._tail = round(TAIL_SECONDS * sample_rate)
        self._fade = np.linspace(0, 1, round(FADE_SECONDS * sample_rate), dtype=np.float32)
        self._held: list[Samples] = []
        self.heard = False
        """Whether there was any sound so far."""

    def feed(self, samples: Samples) -> Samples:
        """What can be sent now that `samples` have come; empty while all is silent."""
        loud = np.flatnonzero(np.abs(samples) > SILENCE)
        if not len(loud):
            self._held.append(samples)
            return np.zeros(0, np.float32)
        held = np.concatenate([*self._held, samples])
        before = len(held) - len(samples)
        start = 0
        if not self.heard:
            self.heard = True
            start = max(before + int(loud[0]) - self._head, 0)
            held[start : start + len(self._fade)] *= self._fade[: len(held) - start]
        # The last few samples stay for the fade, in case that nothing follows.
        end = max(min(before + int(loud[-1]) + 1, len(held) - len(self._fade)), start)
        self._held = [held[end:]]
        return held[start:end]

    def finish(self) -> Samples:
        """The rest of the piece: its last silence, of the same length for every piece."""
        held = np.concatenate([np.zeros(0, np.float32), *self._held])[: self._tail]
        fade = self._fade[: len(held)]
        held[len(held) - len(fade) :] *= fade[::-1]
        return np.pad(held, (0, self._tail - len(held)))

    @property
    def held(self) -> int:
        """Samples of silence held back."""
        return sum(len(samples) for samples in self._held)
