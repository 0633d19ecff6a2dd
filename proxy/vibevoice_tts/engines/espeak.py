"""Speech without model weights: eSpeak NG, using the library and data of espeakng-loader."""

import ctypes
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

import av
import espeakng_loader
import numpy as np
from av.audio.resampler import AudioResampler

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_tts.models import ModelConfig
from vibevoice_tts.speech_model import (
    CannotClone,
    Chunk,
    End,
    Event,
    Samples,
    SpeechRejected,
    SpeechRequest,
)
from vibevoice_tts.text import sentences
from vibevoice_tts.voices import VoiceTable

# Values of speak_lib.h (eSpeak NG 1.52).
_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_END_PAUSE = 0x1000
_RATE, _PITCH = 1, 3

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@dataclass(frozen=True)
class Preset:
    """A voice: eSpeak's language and speaker variant, words per minute, and pitch (0..100)."""

    language: str
    variant: str
    _: KW_ONLY
    words_per_minute: int = 165
    pitch: int = 50


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "espeak-de-man": Preset("de", "m1"),
        "espeak-de-woman": Preset("de", "f2"),
        "espeak-en-gb-man": Preset("en-gb-x-rp", "michael"),
        "espeak-en-gb-woman": Preset("en-gb-x-rp", "f2"),
        "espeak-en-us-boy": Preset("en-us", "m5", pitch=80),
        "espeak-en-us-girl": Preset("en-us", "f5", pitch=75),
        "espeak-en-us-man": Preset("en-us", "m1"),
        "espeak-en-us-man-low": Preset("en-us", "m2", words_per_minute=155, pitch=30),
        "espeak-en-us-woman": Preset("en-us", "f2"),
        "espeak-en-us-woman-low": Preset("en-us", "f4", words_per_minute=155, pitch=40),
        "espeak-es-woman": Preset("es", "f2"),
        "espeak-fr-woman": Preset("fr", "f2"),
        "espeak-it-woman": Preset("it", "f2"),
        "espeak-nl-man": Preset("nl", "m1"),
        "espeak-pl-woman": Preset("pl", "f2"),
        "espeak-pt-woman": Preset("pt", "f2"),
        "espeak-zh-woman": Preset("cmn", "f2"),
    }
)


class Espeak:
    """A `SpeechModel` that speaks one sentence of each request per step.

    The library keeps its state in globals, so use at most one instance per process, in one thread.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, config: ModelConfig) -> None:
        """Raises RuntimeError if the library cannot be initialized."""
        self.card = config.card
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(Path(espeakng_loader.get_data_path()).parent).encode()
        self._native_rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, _DONT_EXIT)
        if self._native_rate <= 0:
            raise RuntimeError("eSpeak NG did not start")
        self._output: list[bytes] = []
        self._callback = _Callback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)
        self._table = VoiceTable(tuple(PRESETS), self.card.voice_aliases)
        self._in_flight: dict[int, list[tuple[str, Preset]]] = {}
        """Handle of each request → its remaining sentences."""
        self._last_handle = 0

    @classmethod
    def load(cls, config: ModelConfig) -> Self:
        """Raises RuntimeError if the library cannot be initialized."""
        return cls(config)

    def voices(self) -> tuple[str, ...]:
        return self._table.names

    def find_voice(self, name: str) -> str:
        return self._table.find(name)

    def join(self, request: SpeechRequest) -> int:
        if request.samples:
            raise CannotClone(self.card.name)
        lines = [
            (sentence, PRESETS[self.find_voice(turn.voice)])
            for turn in request.turns
            for sentence in sentences(turn.text)
        ]
        most = self.card.max_speakers
        if len({preset for _, preset in lines}) > most:
            raise SpeechRejected(f"At most {most} different voices can be used.")
        self._last_handle += 1
        self._in_flight[self._last_handle] = lines
        return self._last_handle

    def step(self) -> list[Event]:
        events: list[Event] = []
        for handle, lines in list(self._in_flight.items()):
            if lines:
                events.append(Chunk(handle, self._say(*lines.pop(0))))
            else:
                del self._in_flight[handle]
                events.append(End(handle, "stop"))
        return events

    def leave(self, handle: int) -> None:
        self._in_flight.pop(handle, None)

    def _receive(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _: object) -> int:
        """Called by the library with audio; returns 0 to continue."""
        if samples and count:
            self._output.append(ctypes.string_at(samples, 2 * count))
        return 0

    def _say(self, sentence: str, preset: Preset) -> Samples:
        """The audio of one sentence; raises RuntimeError if the library fails."""
        library, text = self._library, sentence.encode()
        name = f"{preset.language}+{preset.variant}"
        if library.espeak_SetVoiceByName(name.encode()) != 0:
            raise RuntimeError(f"eSpeak NG has no voice {name}")
        library.espeak_SetParameter(_RATE, preset.words_per_minute, 0)
        library.espeak_SetParameter(_PITCH, preset.pitch, 0)
        self._output = []
        error = library.espeak_Synth(
            text, len(text) + 1, 0, 1, 0, _CHARS_UTF8 | _END_PAUSE, None, None
        )
        if error != 0:
            raise RuntimeError(f"eSpeak NG failed with error {error}")
        return _resample(np.frombuffer(b"".join(self._output), np.int16), self._native_rate)


def _resample(samples: np.ndarray, rate: int) -> Samples:
    """Convert 16-bit samples (samples,) at `rate` to float32 at SAMPLE_RATE."""
    if not len(samples):
        return np.zeros(0, np.float32)
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate = rate
    resampler = AudioResampler("fltp", "mono", SAMPLE_RATE)
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([part.to_ndarray()[0] for part in frames])
