"""Extracts speech of real people from Debian packages, for recordings with known speakers.

If words are not known or not English, only speakers and times are scored.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import soxr
from av.error import InvalidDataError
from tests.support.installing import require_debian
from tests.support.real_voices import (
    RATE,
    Samples,
    Utterance,
    librivox,
    prompts,
    read,
    trimmed,
)

CARDS = Path("/usr/share/pocketsphinx/test/data/cards")
BRUCE = Path("/usr/share/codec2/raw/ve9qrp.raw")
"""A radio amateur who speaks freely for 112 s, 8 kHz (codec2-examples, LGPL-2.1)."""
MIN_SECONDS = 1.0
"""Prompts of a word or two are not used in conversations."""
PAUSE_SECONDS = 0.3
GAME = Path("/usr/share/games/fillets-ng/sound")
"""Dialogs of two fish, a woman (m) and a man (v), in Czech and in Dutch (fillets-ng-data-cs, -nl,
GPL-2)."""
PROMPTS = Path("/usr/share/asterisk/sounds")
ENOUGH_SECONDS = 420.0
"""Maximum speech read per person."""
FOREIGN = {"June": "fr_CA_f_June", "Carlo": "it_IT_m_Carlo", "Ivrvoice": "ru_RU_f_IvrvoiceRU"}
"""Readers of telephone prompts (asterisk-core-sounds-fr, -it, -ru)."""


def load_voices() -> Mapping[str, Sequence[Utterance]]:
    """The utterances of each person, by name; the text is empty if words are not scored."""
    return {
        "Allison": [one for one in prompts() if one.seconds >= MIN_SECONDS],
        "LibriVox": librivox(),
        "cards": cards(),
        "Bruce": bruce(),
        **{name: foreign(folder) for name, folder in FOREIGN.items()},
    }


def more_voices() -> Mapping[str, Sequence[Utterance]]:
    """Seven more people, whose words are unknown, and Allison in Spanish."""
    require_debian(
        *("asterisk-prompt-es-co", "asterisk-prompt-fr-armelle", "asterisk-prompt-it-menardi-alaw"),
        *("fillets-ng-data-cs", "fillets-ng-data-nl"),
    )
    fish = {
        f"{land} {person}": sorted(GAME.glob(f"*/{code}/*-{letter}-*.ogg"))
        for land, code in (("Czech", "cs"), ("Dutch", "nl"))
        for person, letter in (("woman", "m"), ("man", "v"))
    }
    readers = {
        "Armelle": sorted((PROMPTS / "fr").rglob("*.gsm")),
        "Menardi": sorted((PROMPTS / "it_IT_f_Menardi").rglob("*.alaw")),
        "Colombian": sorted((PROMPTS / "es").rglob("*.gsm")),
    }
    found = {name: _utterances(files) for name, files in {**readers, **fish}.items()}
    return {**found, "Allison in Spanish": foreign("es_MX_f_Allison")}


def _utterances(files: Sequence[Path]) -> Sequence[Utterance]:
    """Recordings of at least MIN_SECONDS, ENOUGH_SECONDS in total."""
    found: list[Utterance] = []
    seconds = 0.0
    for file in files:
        if seconds > ENOUGH_SECONDS:
            break
        samples = _read_prompt(file)
        if len(samples) >= MIN_SECONDS * RATE:
            found.append(Utterance(str(file), samples, ""))
            seconds += len(samples) / RATE
    return found


def _read_prompt(file: Path) -> Samples:
    """Read a recording; files without a header are A-law at 8 kHz. Empty for two broken files."""
    if file.suffix != ".alaw":
        try:
            return read(file)
        except InvalidDataError:
            return np.zeros(0, np.float32)
    code = np.frombuffer(file.read_bytes(), np.uint8) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, (code & 15).astype(np.float32)
    magnitude = np.where(
        exponent == 0, mantissa * 2 + 1, (mantissa * 2 + 33) * 2.0 ** (exponent - 1.0)
    )
    narrow = np.where(code & 0x80, magnitude, -magnitude) / 4096
    return soxr.resample(narrow.astype(np.float32), 8000, RATE)


@cache
def cards() -> Sequence[Utterance]:
    """Five hands of cards, read aloud (pocketsphinx-testdata)."""
    require_debian("pocketsphinx-testdata")
    lines = (CARDS / "cards.transcription").read_text().splitlines()
    found = [match for line in lines if (match := re.fullmatch(r"<s> (.*?) +</s> \((.*)\)", line))]
    return [Utterance(match[2], read(CARDS / f"{match[2]}.wav"), match[1]) for match in found]


@cache
def bruce() -> Sequence[Utterance]:
    """The radio amateur's sentences, split at his pauses."""
    require_debian("codec2-examples")
    narrow = np.fromfile(BRUCE, np.int16).astype(np.float32) / 32768
    parts = _phrases(soxr.resample(narrow, 8000, RATE))
    return [
        Utterance(f"bruce {number}", part, "")
        for number, part in enumerate(parts)
        if len(part) >= MIN_SECONDS * RATE
    ]


@cache
def foreign(folder: str) -> Sequence[Utterance]:
    """The prompts of another language whose English versions contain words; others are beeps and
    monkeys."""
    require_debian(f"asterisk-core-sounds-{folder[:2]}-g722")
    spoken = {one.name for one in prompts()}
    return [one for one in prompts(folder) if one.name in spoken and one.seconds >= MIN_SECONDS]


def _phrases(samples: Samples) -> list[Samples]:
    """`samples` split at pauses: PAUSE_SECONDS with 30 dB less energy than the loudest 20 ms."""
    hop = RATE // 50
    loud = np.square(samples[: len(samples) // hop * hop]).reshape(-1, hop).mean(axis=1)
    speech = np.flatnonzero(loud > loud.max() * 1e-3)
    cuts = np.flatnonzero(np.diff(speech) > PAUSE_SECONDS * 50)
    starts = [speech[0], *speech[cuts + 1]]
    ends = [*speech[cuts], speech[-1]]
    return [
        trimmed(samples[start * hop : (end + 1) * hop])
        for start, end in zip(starts, ends, strict=True)
    ]
