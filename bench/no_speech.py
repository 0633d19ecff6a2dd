"""Generates recordings without intelligible speech."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tests.support.installing import require_debian
from tests.support.real_voices import RATE, Samples, leveled, prompts, read, trimmed

from bench.channels import pink
from bench.voices import FOREIGN

HOLD_MUSIC = Path("/usr/share/asterisk/moh")
"""Five pieces of on-hold music (asterisk-moh-opsound-g722, CC-BY-SA)."""
LEVEL = 0.1
"""-20 dBFS."""
TALKERS = 8


def without_speech(seconds: float) -> Mapping[str, Samples]:
    """`seconds` seconds of each kind, by name."""
    count = round(seconds * RATE)
    rng = np.random.default_rng(7)
    time = np.arange(count) / RATE
    hum = sum(np.sin(2 * np.pi * 50 * k * time) / k for k in range(1, 9))
    found = {
        "silence": np.zeros(count),
        "white noise": rng.standard_normal(count) * LEVEL,
        "white noise, -60 dBFS": rng.standard_normal(count) * 0.001,
        "pink noise": pink(count, rng) * LEVEL,
        "hum of 50 Hz": hum * LEVEL,
        "chords and drums": band(count, rng),
        "music on hold": hold_music(count),
        f"babble of {TALKERS}": babble(count, rng),
    }
    return {name: samples.astype(np.float32) for name, samples in found.items()}


def band(count: int, rng: np.random.Generator) -> np.ndarray:
    """Chords of three notes with overtones, a bass drum on each beat, and a snare on every
    other."""
    beat = RATE // 2
    time = np.arange(beat) / RATE
    scale = 220 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11]) / 12)
    kick = np.sin(2 * np.pi * 60 * time) * np.exp(-20 * time)
    beats = []
    for number in range(-(-count // beat)):
        chord = sum(
            np.sin(2 * np.pi * note * k * time) / k
            for note in rng.choice(scale, 3, replace=False)
            for k in (1, 2, 3, 4)
        )
        snare = rng.standard_normal(beat) * np.exp(-15 * time) * (number % 2)
        beats.append(chord * np.exp(-2 * time) * 0.2 + kick + snare * 0.5)
    samples = np.concatenate(beats)[:count]
    return samples * (LEVEL / np.sqrt(np.mean(np.square(samples))))


def hold_music(count: int) -> Samples:
    """A part of each piece, one after another."""
    require_debian("asterisk-moh-opsound-g722")
    pieces = [read(file) for file in sorted(HOLD_MUSIC.glob("*.g722"))]
    return np.concatenate([np.resize(leveled(piece), count // len(pieces)) for piece in pieces])


def babble(count: int, rng: np.random.Generator) -> np.ndarray:
    """Many people at once, in four languages."""
    folders = ["en_US_f_Allison", *FOREIGN.values()]
    require_debian(*(f"asterisk-core-sounds-{folder[:2]}-g722" for folder in folders))
    total = np.zeros(count)
    for number in range(TALKERS):
        prompts_ = [one for one in prompts(folders[number % len(folders)]) if one.seconds > 1]
        order = rng.permutation(len(prompts_))
        talk = np.concatenate([leveled(trimmed(prompts_[index].samples)) for index in order])
        total += np.resize(talk, count)
    return total * (LEVEL / np.sqrt(np.mean(np.square(total))))
