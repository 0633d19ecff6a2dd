"""Voice activity detection with Silero VAD 6.2.3 (MIT): a speech probability every 32 ms."""

import numpy as np
from numpy.typing import NDArray

from vibevoice_light.audio import silence
from vibevoice_light.models import VOICE_ACTIVITY_MODEL
from vibevoice_light.sessions import Session, open_session

FRAME = 512
"""Samples per frame at 16 kHz."""
CONTEXT = 64
"""Samples of the previous frame that precede each frame (silero-vad, `sequence_vad.py`)."""
STATE = 128
"""Size of each of the two states passed from frame to frame."""
BLOCK = 512
"""Frames per model call, 16 s."""


def open_voice_activity() -> Session:
    """The model, for any number of recordings."""
    return open_session(VOICE_ACTIVITY_MODEL.path)


class VoiceActivity:
    """Computes the speech probabilities of one recording, frame by frame."""

    def __init__(self, session: Session) -> None:
        """`session`: Silero's sequence model for 16 kHz."""
        self._session = session
        self._cell = self._hidden = np.zeros((1, 1, STATE), np.float32)
        self._context = silence(CONTEXT)
        self._rest = silence(0)

    def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add `samples`, shape (samples,), mono, 16 kHz, full scale 1.0, and return the
        probabilities, shape (frames,), of the frames that they complete."""
        joined = np.concatenate([self._rest, samples])
        count = len(joined) // FRAME
        self._rest = joined[count * FRAME :]
        frames = joined[: count * FRAME].reshape(count, FRAME)
        parts = [self._run(frames[at : at + BLOCK]) for at in range(0, count, BLOCK)]
        return np.concatenate([*parts, silence(0)])

    def finish(self) -> NDArray[np.float32]:
        """The probability of the last frame, padded with silence; shape (0,) or (1,)."""
        if not len(self._rest):
            return silence(0)
        return self.feed(silence(FRAME - len(self._rest)))

    def _run(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        contexts = np.concatenate([self._context[None], frames[:-1, -CONTEXT:]])
        self._context = frames[-1, -CONTEXT:].copy()
        feed = {"input": np.concatenate([contexts, frames], axis=1)}
        feed |= {"h": self._hidden, "c": self._cell}
        probabilities, self._hidden, self._cell = self._session.run(None, feed)
        return probabilities
