"""Recordings of real people with known words from Debian packages: telephone prompts and LibriVox.

Uses `asterisk-core-sounds-*` (CC-BY-SA-3.0, CC-BY-3.0) and `pocketsphinx-testdata` (BSD; LibriVox
is in the public domain). They are installed if the tests run as root on Debian; elsewhere, tests
are skipped with a message if the packages are missing.
"""

import gzip
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import soxr
from numpy.typing import NDArray
from tests.support.installing import require_debian

RATE = 16_000
PROMPTS = Path("/usr/share/asterisk/sounds")
TEXTS = Path("/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")
LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")
PACKAGES = ("asterisk-core-sounds-en", "asterisk-core-sounds-en-g722", "pocketsphinx-testdata")

Samples = NDArray[np.float32]


class Utterance(NamedTuple):
    """A recording of one person with its words."""

    name: str
    samples: Samples
    """Mono, 16 kHz, shape (samples,)."""
    text: str
    """Empty if unknown."""

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.samples) / RATE


class Spoken(NamedTuple):
    """A turn of a conversation."""

    start: float
    end: float
    speaker: str
    text: str


@cache
def read(file: Path) -> Samples:
    """Read a recording in any format as mono at 16 kHz, shape (samples,)."""
    with av.open(str(file)) as container:
        resampler = av.AudioResampler("flt", "mono", RATE)
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([np.zeros(0, np.float32), *(frame.to_ndarray()[0] for frame in frames)])


@cache
def prompts(voice: str = "en_US_f_Allison") -> Sequence[Utterance]:
    """The telephone prompts of a voice, with their words if it is the English one."""
    require_debian(*PACKAGES, f"asterisk-core-sounds-{voice[:2]}-g722")
    texts = _prompt_texts() if voice.startswith("en") else {}
    folder = PROMPTS / voice
    return [
        Utterance(name, read(file), texts.get(name, ""))
        for file in sorted(folder.rglob("*.g722"))
        if (name := str(file.relative_to(folder).with_suffix(""))) in texts
        or (not texts and not name.startswith("silence"))
    ]


def _prompt_texts() -> dict[str, str]:
    """Name → words, for the prompts that have words."""
    lines = gzip.decompress(TEXTS.read_bytes()).decode("utf-8-sig").splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line and not line.startswith(";"))
    return {
        name.strip(): text.strip()
        for name, text in pairs
        if text.strip() and not re.search(r"[\[\]()<>]", text)
    }


@cache
def librivox() -> Sequence[Utterance]:
    """Five sentences of "Sense and Sensibility", read by a woman."""
    require_debian(*PACKAGES)
    lines = (LIBRIVOX / "transcription").read_text().splitlines()
    found = (re.fullmatch(r"<s> (.*) </s> \((.*)\)", line) for line in lines)
    return [
        Utterance(match[2], read(LIBRIVOX / f"{match[2]}.wav"), match[1])
        for match in found
        if match
    ]


def conversation(
    turns: Iterable[tuple[str, Utterance]], pause: float = 0.5
) -> tuple[Samples, list[Spoken]]:
    """Join (speaker, utterance) pairs with `pause` seconds between them, all equally loud; returns
    the recording and the turns."""
    parts: list[Samples] = [np.zeros(RATE // 2, np.float32)]
    spoken: list[Spoken] = []
    at = len(parts[0])
    for speaker, utterance in turns:
        samples = leveled(trimmed(utterance.samples))
        spoken.append(Spoken(at / RATE, (at + len(samples)) / RATE, speaker, utterance.text))
        parts += [samples, np.zeros(round(pause * RATE), np.float32)]
        at += len(parts[-1]) + len(samples)
    return np.concatenate(parts), spoken


def trimmed(samples: Samples) -> Samples:
    """`samples` without silence at both ends: anything 40 dB below the loudest 20 ms."""
    hop = RATE // 50
    count = len(samples) // hop
    loud = np.square(samples[: count * hop]).reshape(count, hop).mean(axis=1)
    speech = np.flatnonzero(loud > loud.max() * 1e-4)
    return samples[speech[0] * hop : (speech[-1] + 1) * hop]


def leveled(samples: Samples) -> Samples:
    """`samples` at -20 dBFS."""
    return (samples * (0.1 / np.sqrt(np.mean(np.square(samples))))).clip(-1, 1).astype(np.float32)


def resampled(samples: Samples, rate: int) -> Samples:
    """`samples` at another rate."""
    return soxr.resample(samples, RATE, rate)
