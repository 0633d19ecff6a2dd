"""Generates recordings of synthetic speech: who says which digits when, plus room and line
effects."""

import json
from dataclasses import dataclass, replace

import numpy as np
import soxr

from training.tiny_asr.espeak import Speech, Synthesizer, Voice, fundamental
from vibevoice_core.audio import SAMPLE_RATE

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

MOST_WORDS = 8
"""Maximum words per segment."""

ACCENTS = ("en-us", "en", "en-gb-x-rp", "en-gb-x-gbclan")
HELD_OUT_ACCENTS = ("en-us-nyc", "en-029")
# eSpeak NG's variants that sound human: without its Klatt synthesizer, loud echo, strong flutter,
# breath instead of voice, or more than twice the usual voicing.
VARIANTS = (
    "Alex Alicia Andrea Andy Annie Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Marco Mario "
    "Michael Mike Nguyen Storm anika antonio belinda boris ed f1 f2 f4 f5 gustave ian iven3 john "
    "kaukovalta linda m1 m2 m4 m5 m6 m8 marcelo max michel norbert pablo pedro quincy rob robert "
    "sandro shelby steph steph3 travis zac"
).split()
HELD_OUT_VARIANTS = "f3 m3 m7 miguel steph2 victor iven4".split()

TURN_PAUSE = 0.6
"""Minimum silence in seconds before the same speaker's next words form a new segment."""


@dataclass(frozen=True)
class Segment:
    start: float
    end: float
    speaker: int
    """0, 1, … in order of first appearance."""
    words: tuple[tuple[str, float, float], ...]
    """(word, start, end) in seconds of the recording."""
    phones: tuple[tuple[str, float], ...] = ()
    """(eSpeak's name, start in seconds of the recording) of each phoneme and pause."""

    @property
    def text(self) -> str:
        return " ".join(word for word, _, _ in self.words)


@dataclass(frozen=True)
class Recording:
    samples: np.ndarray
    """Mono float32 at 24 kHz."""
    segments: tuple[Segment, ...]
    voices: tuple[Voice, ...]

    @property
    def duration(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    def answer(self) -> str:
        """The transcript in VibeVoice-ASR's format: compact JSON with its four keys."""
        items = [
            {
                "Start": round(s.start, 1),
                "End": round(s.end, 1),
                "Speaker": s.speaker,
                "Content": s.text,
            }
            for s in self.segments
        ]
        return json.dumps(items, separators=(",", ":"))


class Composer:
    """Generates endless recordings from a seed. `held_out` uses voices, accents, and paces that are
    never trained on, and also builds utterances from single words with gaps."""

    def __init__(
        self,
        synthesizer: Synthesizer,
        seed: int,
        held_out: bool = False,
        known: list[Voice] | None = None,
    ) -> None:
        """`known`: voices to reuse; new ones are added (measuring one takes long)."""
        self._synthesizer = synthesizer
        self._known = known
        self._rng = np.random.default_rng(seed)
        self._held_out = held_out

    def voice(self) -> Voice:
        """A new voice with measured pitch."""
        if self._known and self._rng.random() > 200 / (200 + len(self._known)):
            return self._known[int(self._rng.integers(len(self._known)))]
        while True:
            voice = self._draw()
            speech = self._synthesizer.say(["nine", "one", "zero"], voice)
            if speech is not None and (hertz := fundamental(speech.samples)):
                voice = replace(voice, hertz=hertz)
                if self._known is not None:
                    self._known.append(voice)
                return voice

    def _draw(self) -> Voice:
        rng = self._rng
        if self._held_out:
            # A held-out voice is a new variant; every third one also has a held-out accent.
            accents = HELD_OUT_ACCENTS if rng.random() < 0.33 else ACCENTS
            pace = int(rng.choice([128, 143, 158, 173]))
            return Voice(
                str(rng.choice(accents)),
                str(rng.choice(HELD_OUT_VARIANTS)),
                pace,
                int(rng.integers(25, 76)),
                50,
            )
        return Voice(
            str(rng.choice(ACCENTS)),
            str(rng.choice(VARIANTS)),
            int(rng.integers(115, 190)),
            int(rng.integers(20, 81)),
            int(rng.integers(20, 80)),
        )

    def voices(self, count: int) -> list[Voice]:
        """`count` distinct voices: different variants, at least a third of an octave apart in
        pitch."""
        chosen: list[Voice] = []
        while len(chosen) < count:
            voice = self.voice()
            if all(
                v.variant != voice.variant and abs(np.log2(v.hertz / voice.hertz)) >= 1 / 3
                for v in chosen
            ):
                chosen.append(voice)
        return chosen

    def utterance(self, voice: Voice, most_words: int = MOST_WORDS) -> Speech:
        rng = self._rng
        while True:
            count = int(rng.integers(1, most_words + 1))
            words = [str(w) for w in rng.choice(WORDS, count)]
            if rng.random() < 0.1:  # repeated digits, which greedy decoders tend to miscount
                words = [words[0]] * count
            if rng.random() < (0.4 if self._held_out else 0.2):
                speech = self._glued(words, voice)
            else:
                commas = rng.random() < 0.3
                pauses = ["," if commas and rng.random() < 0.3 else "" for _ in words]
                pauses[-1] = ""
                speech = self._synthesizer.say(words, voice, pauses)
            if speech is None:
                continue
            gaps = [b[1] - a[2] for a, b in zip(speech.words, speech.words[1:], strict=False)]
            if max(gaps, default=0.0) < TURN_PAUSE - 0.1:
                return speech

    def _glued(self, words: list[str], voice: Voice) -> Speech | None:
        pieces: list[np.ndarray] = []
        times: list[tuple[str, float, float]] = []
        phones: list[tuple[str, float]] = []
        position = 0
        for index, word in enumerate(words):
            speech = self._synthesizer.say([word], voice)
            if speech is None:
                return None
            if index:
                gap = int(self._rng.uniform(0.02, 0.35) * SAMPLE_RATE)
                pieces.append(np.zeros(gap, np.float32))
                position += gap
            pieces.append(speech.samples)
            times.append(
                (word, position / SAMPLE_RATE, (position + len(speech.samples)) / SAMPLE_RATE)
            )
            phones += [(name, position / SAMPLE_RATE + start) for name, start in speech.phones]
            position += len(speech.samples)
        return Speech(np.concatenate(pieces), tuple(times), tuple(phones))

    def recording(
        self, seconds: float, speakers: int, clean: bool = False, most_words: int = MOST_WORDS
    ) -> Recording:
        """About `seconds` of 1 to 3 `speakers` who take turns, each with a limited number of words;
        `clean` omits room and line effects."""
        rng = self._rng
        voices = self.voices(speakers)
        gains = 10 ** (rng.uniform(-4, 4, speakers) / 20)
        lead = float(rng.exponential(0.35)) if rng.random() < 0.9 else float(rng.uniform(1, 4))
        pieces: list[np.ndarray] = [np.zeros(int(lead * SAMPLE_RATE), np.float32)]
        position = len(pieces[0])
        order: list[int] = []
        segments: list[Segment] = []
        current = int(rng.integers(speakers))
        while True:
            speech = self.utterance(voices[current], most_words)
            offset = position / SAMPLE_RATE
            if segments and offset + len(speech.samples) / SAMPLE_RATE > seconds:
                break
            if current not in order:
                order.append(current)
            words = tuple((w, offset + s, offset + e) for w, s, e in speech.words)
            phones = tuple((name, offset + start) for name, start in speech.phones)
            segments.append(Segment(words[0][1], words[-1][2], order.index(current), words, phones))
            pieces.append(speech.samples * gains[current])
            position += len(speech.samples)
            following = (
                int(rng.integers(speakers)) if rng.random() < 0.3 else (current + 1) % speakers
            )
            least = TURN_PAUSE + 0.1 if following == current else 0.15
            pause = least + float(rng.exponential(0.4))
            current = following
            pieces.append(np.zeros(int(pause * SAMPLE_RATE), np.float32))
            position += int(pause * SAMPLE_RATE)
        tail = float(rng.exponential(0.5)) if rng.random() < 0.9 else float(rng.uniform(1, 4))
        pieces[-1] = np.zeros(int(tail * SAMPLE_RATE), np.float32)
        samples = np.concatenate(pieces)
        if not clean:
            samples = degrade(samples, rng)
        return Recording(samples, tuple(segments), tuple(voices[i] for i in order))


def degrade(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add room, line, and noise, each with some probability: an echo, a lost band, a noise
    floor."""
    if rng.random() < 0.25:
        length = int(rng.uniform(0.05, 0.4) * SAMPLE_RATE)
        echo = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
        echo *= rng.uniform(0.1, 0.5) / np.sqrt(np.sum(echo**2))
        echo[0] = 1.0
        size = 1 << (len(samples) + length - 1).bit_length()
        wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(echo, size), size)
        samples = wet[: len(samples)].astype(np.float32)
    if rng.random() < 0.2:
        narrow = int(rng.choice([8000, 11025, 16000]))
        there = soxr.resample(samples, SAMPLE_RATE, narrow)
        back = soxr.resample(there, narrow, SAMPLE_RATE)[: len(samples)]
        samples = np.pad(back, (0, len(samples) - len(back))).astype(np.float32)
    if rng.random() < 0.6:
        level = np.sqrt(np.mean(samples**2)) * 10 ** (-rng.uniform(20, 50) / 20)
        noise = rng.standard_normal(len(samples)).astype(np.float32)
        if rng.random() < 0.6:  # pink or brown instead of white
            spectrum = np.fft.rfft(noise)
            spectrum /= np.maximum(np.arange(len(spectrum)), 20) ** rng.choice([0.5, 1.0])
            noise = np.fft.irfft(spectrum, len(noise)).astype(np.float32)
        samples = samples + level * noise / (np.sqrt(np.mean(noise**2)) + 1e-9)
    return samples.astype(np.float32)
