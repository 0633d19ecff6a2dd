"""Speech without weights: eSpeak NG, from the library and data of the package espeakng-loader."""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import av
import espeakng_loader
import numpy as np
from av.audio.resampler import AudioResampler

from vibevoice_tts.engine import Chunk, End, Event, InvalidRequest, Samples, SpeechRequest
from vibevoice_tts.text import sentences
from vibevoice_tts.voices import VoiceTable

SAMPLE_RATE = 24_000
MAX_SPEAKERS = 4

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
    """A voice: eSpeak's language and speaker variant, words a minute, and pitch (0..100)."""

    language: str
    variant: str
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
        "espeak-en-us-man-low": Preset("en-us", "m2", 155, 30),
        "espeak-en-us-woman": Preset("en-us", "f2"),
        "espeak-en-us-woman-low": Preset("en-us", "f4", 155, 40),
        "espeak-es-woman": Preset("es", "f2"),
        "espeak-fr-woman": Preset("fr", "f2"),
        "espeak-it-woman": Preset("it", "f2"),
        "espeak-nl-man": Preset("nl", "m1"),
        "espeak-pl-woman": Preset("pl", "f2"),
        "espeak-pt-woman": Preset("pt", "f2"),
        "espeak-zh-woman": Preset("cmn", "f2"),
    }
)

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "alloy": "espeak-en-us-woman",
        "ash": "espeak-en-us-man",
        "ballad": "espeak-en-gb-man",
        "cedar": "espeak-en-us-man-low",
        "coral": "espeak-en-us-woman",
        "echo": "espeak-en-us-man",
        "fable": "espeak-en-gb-man",
        "marin": "espeak-en-us-woman-low",
        "nova": "espeak-en-gb-woman",
        "onyx": "espeak-en-us-man-low",
        "sage": "espeak-en-gb-woman",
        "shimmer": "espeak-en-us-woman-low",
        "verse": "espeak-en-us-man",
    }
)
"""OpenAI's voices → ours, by how they are usually heard."""


class Espeak:
    """A `SpeechEngine` whose step is one sentence of each request.

    The library keeps its state in globals: at most one instance in a process, in one thread.

    Raises:
        RuntimeError: the library did not start.
    """

    name = "espeak"
    sample_rate = SAMPLE_RATE
    max_speakers = MAX_SPEAKERS

    def __init__(self, capacity: int = 16) -> None:
        self.capacity = capacity
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(Path(espeakng_loader.get_data_path()).parent).encode()
        self._native_rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, _DONT_EXIT)
        if self._native_rate <= 0:
            raise RuntimeError("eSpeak NG did not start")
        self._spoken: list[bytes] = []
        self._callback = _Callback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)
        self._table = VoiceTable(tuple(PRESETS), ALIASES)
        self._inside: dict[int, _Speech] = {}
        self._last_handle = 0

    def voices(self) -> tuple[str, ...]:
        """Names of the voices, sorted."""
        return self._table.names

    def find_voice(self, name: str) -> str:
        """The voice that a client's name means; raises UnknownVoice."""
        return self._table.find(name)

    def join(self, request: SpeechRequest) -> int:
        """Take a request in; raises InvalidRequest."""
        if request.samples:
            raise InvalidRequest("eSpeak cannot clone voices.")
        lines = [
            (sentence, PRESETS[self.find_voice(turn.voice)])
            for turn in request.turns
            for sentence in sentences(turn.text)
        ]
        if len({preset for _, preset in lines}) > MAX_SPEAKERS:
            raise InvalidRequest(f"At most {MAX_SPEAKERS} different voices can speak.")
        limit = None
        if request.max_seconds is not None:
            limit = round(request.max_seconds * SAMPLE_RATE)
        self._last_handle += 1
        self._inside[self._last_handle] = _Speech(lines, limit)
        return self._last_handle

    def step(self) -> list[Event]:
        """The next sentence of every request inside."""
        events: list[Event] = []
        for handle, speech in list(self._inside.items()):
            if not speech.lines:
                del self._inside[handle]
                events.append(End(handle, "stop"))
                continue
            samples = self._say(*speech.lines.pop(0))
            if speech.limit is not None:
                cut = len(samples) > speech.limit
                samples = samples[: speech.limit]
                speech.limit -= len(samples)
                if cut:
                    del self._inside[handle]
                    events += [Chunk(handle, samples), End(handle, "length")]
                    continue
            events.append(Chunk(handle, samples))
        return events

    def leave(self, handle: int) -> None:
        """Stop a request; no effect if it has left."""
        self._inside.pop(handle, None)

    def _receive(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _: object) -> int:
        if samples and count:
            self._spoken.append(ctypes.string_at(samples, 2 * count))
        return 0

    def _say(self, sentence: str, preset: Preset) -> Samples:
        library, text = self._library, sentence.encode()
        name = f"{preset.language}+{preset.variant}"
        if library.espeak_SetVoiceByName(name.encode()) != 0:
            raise RuntimeError(f"eSpeak NG has no voice {name}")
        library.espeak_SetParameter(_RATE, preset.words_per_minute, 0)
        library.espeak_SetParameter(_PITCH, preset.pitch, 0)
        self._spoken = []
        error = library.espeak_Synth(
            text, len(text) + 1, 0, 1, 0, _CHARS_UTF8 | _END_PAUSE, None, None
        )
        if error != 0:
            raise RuntimeError(f"eSpeak NG failed with error {error}")
        return _resample(np.frombuffer(b"".join(self._spoken), np.int16), self._native_rate)


@dataclass
class _Speech:
    lines: list[tuple[str, Preset]]
    """Sentences still to say."""
    limit: int | None
    """Samples that may still be made."""


def _resample(samples: np.ndarray, rate: int) -> Samples:
    """16-bit samples at `rate` as float32 at SAMPLE_RATE."""
    if not len(samples):
        return np.zeros(0, np.float32)
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate = rate
    resampler = AudioResampler("fltp", "mono", SAMPLE_RATE)
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([part.to_ndarray()[0] for part in frames])
