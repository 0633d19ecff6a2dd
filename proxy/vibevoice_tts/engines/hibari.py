"""A natural English voice with 6 million parameters: the package hibari-tts on onnxruntime.

The package, by Maureese Williams, is Apache-2.0 and distilled from Kokoro-82M. It includes the
voice "heart" and would download others; this module passes the path of the included file, so
nothing is downloaded.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from vibevoice_core.telemetry import disable_onnxruntime_telemetry
from vibevoice_tts.engines.english import as_one_sentence, readable
from vibevoice_tts.models import ModelConfig
from vibevoice_tts.speech_model import (
    CannotClone,
    Chunk,
    End,
    Event,
    NotEnglish,
    Samples,
    SpeechError,
    SpeechRequest,
)
from vibevoice_tts.text import sentences, short_enough
from vibevoice_tts.trimming import PassageAudio
from vibevoice_tts.voices import VoiceTable

disable_onnxruntime_telemetry()

import hibari  # noqa: E402
from hibari.tts import ASSETS  # noqa: E402

VOICE = "hibari-heart"
VOICE_FILE = f"{ASSETS}/hibari.onnx"
MAX_PHONEMES = 300
"""Maximum phonemes spoken in one step, about 15 s. This bounds memory and the time to the first
sound. The package itself splits at 400."""

logger = logging.getLogger(__name__)


@dataclass
class _Spoken:
    """A request in flight."""

    parts: list[str]
    """Remaining phonemes, one string per sentence."""
    rng: np.random.Generator
    """Generates the noise in consonants and breath."""


class Hibari:
    """A `SpeechModel` that speaks one sentence of each request per step."""

    sample_rate = hibari.SAMPLE_RATE

    def __init__(self, config: ModelConfig) -> None:
        """Raises what onnxruntime raises for a damaged file."""
        self.card = config.card
        self.voice = hibari.Hibari(model=VOICE_FILE)
        self.voice.g2p.oov(VOICE)  # loads the network for unknown words before the first request
        self._table = VoiceTable((VOICE,), self.card.voice_aliases)
        self._in_flight: dict[int, _Spoken] = {}
        self._last_handle = 0

    @classmethod
    def load(cls, config: ModelConfig) -> Self:
        """Raises what onnxruntime raises for a damaged file."""
        return cls(config)

    def voices(self) -> tuple[str, ...]:
        return self._table.names

    def find_voice(self, name: str) -> str:
        return self._table.find(name)

    def join(self, request: SpeechRequest) -> int:
        """Also raises NotEnglish if none of the text can be spoken, and SpeechError if the package
        fails on it."""
        if request.samples:
            raise CannotClone(self.card.name)
        for turn in request.turns:
            self.find_voice(turn.voice)
        parts = [part for turn in request.turns for part in self._phonemes(turn.text)]
        if not parts:
            raise NotEnglish(self.card)
        self._last_handle += 1
        self._in_flight[self._last_handle] = _Spoken(parts, np.random.default_rng(request.seed))
        return self._last_handle

    def step(self) -> list[Event]:
        events: list[Event] = []
        for handle, spoken in list(self._in_flight.items()):
            if spoken.parts:
                events.append(Chunk(handle, self._say(spoken.parts.pop(0), spoken.rng)))
            else:
                del self._in_flight[handle]
                events.append(End(handle, "stop"))
        return events

    def waiting(self, handle: int) -> list[str]:
        """The remaining phonemes of a request in flight, one string per step."""
        return self._in_flight[handle].parts

    def leave(self, handle: int) -> None:
        self._in_flight.pop(handle, None)

    def _say(self, phonemes: str, rng: np.random.Generator) -> Samples:
        """The audio of a part, with the usual pauses of a passage at its ends; the model itself
        adds 0.3 s of silence before and 0.4 s after."""
        samples = self.voice.from_ids(self.voice.ids(phonemes), rng=rng)
        passage = PassageAudio(self.sample_rate)
        return np.concatenate([passage.feed(samples), passage.finish()])

    def _phonemes(self, text: str) -> Iterator[str]:
        """The phonemes of each sentence that has any, in parts of at most MAX_PHONEMES."""
        try:
            spelled = [self.voice.g2p(readable(sentence)) for sentence in sentences(text)]
        except MemoryError:
            raise  # handled by the worker
        except Exception as error:
            # The package has many rules; a text that breaks them must not affect other requests.
            logger.exception("a sentence cannot be converted to phonemes")
            raise SpeechError(f"The model {self.card.name} cannot read this text.") from error
        parts = short_enough(map(as_one_sentence, spelled), MAX_PHONEMES)
        return (part for part in parts if any(map(str.isalpha, part)))
