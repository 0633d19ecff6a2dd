"""Embeds speech from short pieces of recordings to compare speakers."""

import numpy as np
from numpy.typing import NDArray

from vibevoice_light.audio import SAMPLE_RATE
from vibevoice_light.embeddings import SpeakerEmbedder, Window
from vibevoice_light.islands import Islands
from vibevoice_light.models import SPEAKER_MODEL, VOICE_ACTIVITY_MODEL
from vibevoice_light.sessions import Session, open_session
from vibevoice_light.voice_activity import FRAME, VoiceActivity


class Voiceprints:
    """Detects speech and embeds it."""

    def __init__(self, voice_activity: Session, embedder: SpeakerEmbedder) -> None:
        self._voice_activity = voice_activity
        self._embedder = embedder

    @classmethod
    def load(cls, threads: int = 1) -> "Voiceprints":
        """Load the models in this package."""
        return cls(
            open_session(VOICE_ACTIVITY_MODEL.path, threads),
            SpeakerEmbedder(open_session(SPEAKER_MODEL.path, threads)),
        )

    def find(self, samples: NDArray[np.float32]) -> list[Window]:
        """The windows that cover all speech in `samples`, shape (samples,), mono, 16 kHz. Times are
        seconds from the start of `samples`."""
        activity, islands = VoiceActivity(self._voice_activity), Islands()
        found = islands.feed(activity.feed(samples)) + islands.feed(activity.finish())
        windows: list[Window] = []
        for island in found + islands.finish():
            start = island.start * FRAME / SAMPLE_RATE
            windows += [
                Window(start + window.start, start + window.end, window.vector)
                for window in self._embedder.embed(
                    samples[island.start * FRAME : island.end * FRAME]
                )
            ]
        return windows
