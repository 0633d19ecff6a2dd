"""The light recognizer: takes samples as they arrive and returns segments as turns end."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vibevoice_light.audio import SAMPLE_RATE
from vibevoice_light.buffer import AudioBuffer
from vibevoice_light.diarizer import Diarizer
from vibevoice_light.embeddings import SpeakerEmbedder
from vibevoice_light.islands import Island, Islands
from vibevoice_light.live import LiveListener
from vibevoice_light.models import SPEAKER_MODEL, VOICE_ACTIVITY_MODEL
from vibevoice_light.moonshine import Moonshine
from vibevoice_light.segments import Segment, recognize_turn
from vibevoice_light.sessions import Session, open_session
from vibevoice_light.turns import Turn, Turns
from vibevoice_light.utterances import Detection, Utterances
from vibevoice_light.voice_activity import FRAME, VoiceActivity
from vibevoice_light.voiceprints import Voiceprints

LOOKAHEAD_SECONDS = 120.0
"""Look-ahead for complete recordings: speakers are decided using the next two minutes as well."""
BLOCK_SECONDS = 10.0
"""Block size in which `transcribe` feeds a recording."""


class LightRecognizer:
    """The three models, loaded once; each recording gets its own `Listener`."""

    def __init__(self, voice_activity: Session, embedder: SpeakerEmbedder, words: Moonshine):
        self._voice_activity = voice_activity
        self._embedder = embedder
        self._words = words

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> "LightRecognizer":
        """`folder`: contains Moonshine's files (`models.find_moonshine`)."""
        return cls(
            open_session(VOICE_ACTIVITY_MODEL.path, threads),
            SpeakerEmbedder(open_session(SPEAKER_MODEL.path, threads)),
            Moonshine.load(folder, threads),
        )

    @property
    def voiceprints(self) -> Voiceprints:
        """Embeds voices with this recognizer's models."""
        return Voiceprints(self._voice_activity, self._embedder)

    def listen(self, lookahead: float = 0.0) -> "Listener":
        """Start a new recording. Speakers are labeled once `lookahead` more seconds have arrived;
        use 0 for live audio."""
        return Listener(self._voice_activity, self._embedder, self._words, lookahead)

    def transcribe(self, samples: NDArray[np.float32]) -> list[Segment]:
        """The segments of a whole recording, shape (samples,): mono, 16 kHz, full scale 1.0.
        Unclear segments are left out."""
        listener = self.listen(LOOKAHEAD_SECONDS)
        block = round(BLOCK_SECONDS * SAMPLE_RATE)
        blocks = (samples[at : at + block] for at in range(0, len(samples), block))
        segments = [segment for part in blocks for segment in listener.feed(part)]
        segments += listener.finish()
        return [segment for segment in segments if not segment.is_unclear]

    def listen_live(
        self, detection: Detection | None, first_speaker: int, interval: float
    ) -> LiveListener:
        """Start a live conversation; see `LiveListener`."""
        return LiveListener(
            VoiceActivity(self._voice_activity),
            Diarizer(self._embedder, 0.0),
            self._words,
            Utterances(detection),
            first_speaker=first_speaker,
            interval=interval,
        )


class Listener:
    """Recognizes one recording incrementally. It keeps the audio of the look-ahead and of one turn,
    and a few hundred bytes per speaker."""

    def __init__(
        self,
        voice_activity: Session,
        embedder: SpeakerEmbedder,
        words: Moonshine,
        lookahead: float,
    ) -> None:
        self._audio = AudioBuffer()
        self._likely = AudioBuffer()
        """Speech probabilities of the frames, kept as long as the audio."""
        self._voice_activity = VoiceActivity(voice_activity)
        self._islands = Islands()
        self._diarizer = Diarizer(embedder, lookahead)
        self._turns = Turns()
        self._words = words

    def feed(self, samples: NDArray[np.float32]) -> Iterator[Segment]:
        """Add `samples`, shape (samples,), and yield the segments of the turns that they complete,
        each as soon as it is recognized. Exhaust the iterator before the next call."""
        self._audio.add(samples)
        islands = self._hear(self._voice_activity.feed(samples))
        yield from self._recognize(self._label(islands))
        yield from self._recognize(self._turns.settle(self._quiet_until()))
        needed = self._needed() - 1.0
        self._audio.forget(round(needed * SAMPLE_RATE))
        self._likely.forget(round(needed * SAMPLE_RATE / FRAME))

    def finish(self) -> Iterator[Segment]:
        """Yield the segments completed by the end of the recording."""
        islands = self._hear(self._voice_activity.finish()) + self._islands.finish()
        yield from self._recognize(self._label(islands))
        yield from self._recognize(self._turns.feed(self._diarizer.finish()))
        yield from self._recognize(self._turns.finish(self._audio.end / SAMPLE_RATE))

    def _hear(self, probabilities: NDArray[np.float32]) -> list[Island]:
        self._likely.add(probabilities)
        return self._islands.feed(probabilities)

    def _label(self, islands: Iterable[Island]) -> Iterator[Turn]:
        for island in islands:
            samples = self._audio.read(island.start * FRAME, island.end * FRAME)
            yield from self._turns.feed(self._diarizer.feed(island, samples))

    def _quiet_until(self) -> float:
        """Time in seconds before which no new speech can be added to a turn."""
        heard = self._islands.settled * FRAME / SAMPLE_RATE
        return heard if self._diarizer.start is None else min(heard, self._diarizer.start)

    def _needed(self) -> float:
        """Time in seconds from which audio is still needed."""
        start = self._turns.start
        return self._quiet_until() if start is None else min(start, self._quiet_until())

    def _recognize(self, turns: Iterable[Turn]) -> Iterator[Segment]:
        for turn in turns:
            if segment := recognize_turn(turn, self._words, self._audio, self._likely):
                yield segment
