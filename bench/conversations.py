"""Builds conversations from recordings of real people, with a known transcript."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tests.support.real_voices import RATE, Spoken, Utterance, leveled, trimmed

TURN_SECONDS = (1.5, 12.0)
"""Minimum and maximum length of a turn; short turns are the most frequent."""
INNER_PAUSE = (0.15, 0.5)
"""Seconds between two utterances of a turn."""
GAP = (0.2, 1.2)
"""Seconds between two turns."""
QUICK_GAP = (0.0, 0.15)
LOUDNESS = 4.0
"""Range in dB by which a speaker may be louder or softer than -20 dBFS."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A recording and its reference."""

    samples: NDArray[np.float32]
    """Mono, 16 kHz, shape (samples,)."""
    spoken: Sequence[Spoken]
    """The utterances in order."""


def converse(
    voices: Mapping[str, Sequence[Utterance]],
    seconds: float,
    gap: tuple[float, float] = GAP,
    seed: int = 1,
) -> Conversation:
    """About `seconds` of the people in `voices`, who take turns in random order without overlap.
    No utterance is repeated before all utterances of that person were used."""
    rng = np.random.default_rng(seed)
    gains = {name: 10 ** (rng.uniform(-LOUDNESS, LOUDNESS) / 20) for name in voices}
    decks: dict[str, list[Utterance]] = {name: [] for name in voices}
    parts = [np.zeros(RATE // 2, np.float32)]
    spoken: list[Spoken] = []
    at, speaker = len(parts[0]), ""
    while at < seconds * RATE:
        speaker = str(rng.choice([name for name in voices if name != speaker]))
        length = np.exp(rng.uniform(*np.log(TURN_SECONDS)))
        began = at
        while True:
            utterance = _draw(decks[speaker], voices[speaker], rng)
            samples = leveled(trimmed(utterance.samples)) * np.float32(gains[speaker])
            end = at + len(samples)
            spoken.append(Spoken(at / RATE, end / RATE, speaker, utterance.text))
            is_last = end - began >= length * RATE
            pause = round(rng.uniform(*(gap if is_last else INNER_PAUSE)) * RATE)
            parts += [samples, np.zeros(pause, np.float32)]
            at = end + pause
            if is_last:
                break
    return Conversation(np.concatenate(parts), spoken)


def _draw(deck: list[Utterance], voice: Sequence[Utterance], rng: np.random.Generator) -> Utterance:
    """The next utterance; shuffles all of them when the deck is empty."""
    if not deck:
        deck += [voice[index] for index in rng.permutation(len(voice))]
    return deck.pop()
