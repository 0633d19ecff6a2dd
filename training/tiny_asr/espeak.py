"""Synthesizes speech with known word times, using eSpeak NG from the package espeakng-loader."""

import ctypes
from dataclasses import dataclass
from pathlib import Path

import espeakng_loader
import numpy as np
import soxr

from vibevoice_core.audio import SAMPLE_RATE

# Values from speak_lib.h (eSpeak NG 1.52).
_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_EVENT_LIST_TERMINATED = 0
_EVENT_WORD, _EVENT_PHONEME = 1, 7
_PHONEME_EVENTS = 1
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True)
class Voice:
    """A synthetic person: accent, variant of the vocal tract, pace, and pitch."""

    accent: str
    variant: str
    words_per_minute: int
    pitch: int
    """0 to 100, eSpeak's base pitch; 50 is the variant's default."""
    pitch_range: int
    """0 to 100; 50 is the variant's default."""
    hertz: float = 0.0
    """Measured fundamental frequency; 0 = not voiced or not measured."""


@dataclass(frozen=True)
class Speech:
    """Mono float32 samples at 24 kHz, and (start, end) of each word in seconds."""

    samples: np.ndarray
    words: tuple[tuple[str, float, float], ...]
    phones: tuple[tuple[str, float], ...] = ()
    """(eSpeak's name, start in seconds) of each phoneme and pause; one lasts until the next."""


class Synthesizer:
    """eSpeak NG in this process. The library has global state: use one instance in one thread."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(Path(espeakng_loader.get_data_path()).parent).encode()
        self._rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS)
        if self._rate <= 0:
            raise RuntimeError("eSpeak NG did not start")
        self._audio: list[bytes] = []
        self._word_starts: list[int] = []
        self._phones: list[tuple[str, int]] = []
        self._callback = _Callback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples, count: int, events) -> int:
        if samples and count:
            self._audio.append(ctypes.string_at(samples, 2 * count))
        index = 0
        while events[index].type != _EVENT_LIST_TERMINATED:
            if events[index].type == _EVENT_WORD:
                self._word_starts.append(events[index].sample)
            if events[index].type == _EVENT_PHONEME:
                self._phones.append((events[index].id.decode().strip("',"), events[index].sample))
            index += 1
        return 0

    def say(self, words: list[str], voice: Voice, pauses: list[str] | None = None) -> Speech | None:
        """Speak `words` without interruption, with `pauses[i]` (`""` or `","`) after word i.

        Returns None if eSpeak reports a different number of words, as it does for a few variants,
        since the word times are then unknown.
        """
        name = f"{voice.accent}+{voice.variant}".encode()
        if self._library.espeak_SetVoiceByName(name) != 0:
            raise ValueError(f"eSpeak NG has no voice {name.decode()!r}")
        for parameter, value in (
            (_PARAMETER_RATE, voice.words_per_minute),
            (_PARAMETER_PITCH, voice.pitch),
            (_PARAMETER_RANGE, voice.pitch_range),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)
        marks = pauses or [""] * len(words)
        text = " ".join(w + p for w, p in zip(words, marks, strict=True)).encode()
        self._audio, self._word_starts, self._phones = [], [], []
        self._library.espeak_Synth(text, len(text) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
        if len(self._word_starts) != len(words) or not self._audio:
            return None
        native = np.frombuffer(b"".join(self._audio), np.int16).astype(np.float32) / 32768
        starts = [min(s / self._rate, len(native) / self._rate) for s in self._word_starts]
        samples = soxr.resample(native, self._rate, SAMPLE_RATE).astype(np.float32)
        phones = [(name, sample / self._rate) for name, sample in self._phones]
        return _trim(samples, words, starts, phones)


def fundamental(samples: np.ndarray) -> float:
    """Median pitch in Hz of the voiced parts of speech (float32 at 24 kHz), by autocorrelation.

    0 if nothing is voiced.
    """
    size, step = 1200, 480
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::step]
    spectra = np.abs(np.fft.rfft(frames - frames.mean(1, keepdims=True), 2 * size)) ** 2
    correlation = np.fft.irfft(spectra)[:, :size]
    shortest, longest = SAMPLE_RATE // 450, SAMPLE_RATE // 60
    lags = correlation[:, shortest:longest] / (correlation[:, :1] + 1e-6)
    voiced = lags.max(1) > 0.5
    if not voiced.any():
        return 0.0
    return float(np.median(SAMPLE_RATE / (shortest + lags[voiced].argmax(1))))


def _trim(
    samples: np.ndarray, words: list[str], starts: list[float], phones: list[tuple[str, float]]
) -> Speech | None:
    """Trim the silence around the speech, and end each word where its sound ends."""
    loud = np.abs(samples) > 0.02 * np.abs(samples).max()
    times = []
    for index, word in enumerate(words):
        first = int(starts[index] * SAMPLE_RATE)
        last = int(starts[index + 1] * SAMPLE_RATE) if index + 1 < len(words) else len(samples)
        audible = np.flatnonzero(loud[first:last])
        if len(audible) == 0:
            return None
        times.append(
            (word, (first + audible[0]) / SAMPLE_RATE, (first + audible[-1] + 1) / SAMPLE_RATE)
        )
    offset = times[0][1]
    cut = samples[int(offset * SAMPLE_RATE) : int(times[-1][2] * SAMPLE_RATE) + 1]
    return Speech(
        cut,
        tuple((w, s - offset, e - offset) for w, s, e in times),
        tuple((name, start - offset) for name, start in phones),
    )
