"""Scores words, speakers, and times of the light recognizer on real people, as Markdown tables.

    python -m bench.light_accuracy --quick                     # about a minute
    python -m bench.light_accuracy --cache runs/light          # about 150 minutes of audio
    python -m bench.light_accuracy --url http://127.0.0.1:8000 # through a proxy

The recordings come from Debian packages, which are installed if possible (as root). Conversations
are assembled from people who never met: times and speakers are exact, but nobody interrupts
anybody.
"""

import argparse
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.real_voices import Spoken, Utterance, librivox, prompts
from tests.support.wording import words

from bench.channels import CHANNELS
from bench.conversations import GAP, QUICK_GAP, Conversation, converse
from bench.hearing import Heard, Light, Proxy, Recognizer, Remembering
from bench.no_speech import without_speech
from bench.scoring import (
    COLLAR,
    Rate,
    diarization_errors,
    name_speakers,
    near_borders,
    right_speakers,
    word_errors,
)
from bench.voices import cards, load_voices
from vibevoice_light import find_moonshine

EVERY = 12
"""In quick mode, every twelfth prompt is used."""
LENGTHS = (0.0, 1.5, 3.0, 8.0, 1e9)
"""Limits in seconds of the length classes for prompts."""


class Case(NamedTuple):
    """A conversation to build."""

    name: str
    people: tuple[str, ...]
    minutes: float
    channel: str = "clean"
    gap: tuple[float, float] = GAP


_TWO = ("Allison", "LibriVox")
CASES = (
    *(Case("two women", _TWO, 5, channel) for channel in CHANNELS),
    Case("two women, quick changes", _TWO, 5, gap=QUICK_GAP),
    Case("woman and man", ("Allison", "Bruce"), 5),
    Case("woman and man, quick changes", ("Allison", "Bruce"), 5, gap=QUICK_GAP),
    Case("woman and man, French and Italian", ("June", "Carlo"), 5),
    Case("three, all English", ("Allison", "LibriVox", "Bruce"), 5),
    Case("three, three languages", ("Allison", "June", "Carlo"), 5),
    Case("four, one of them with cards only", ("Allison", "LibriVox", "Bruce", "cards"), 10),
    Case("four, four languages", ("Allison", "June", "Carlo", "Ivrvoice"), 10),
    Case("two, long", ("Allison", "Carlo"), 30),
)
QUICK_CASES = (Case("two women", _TWO, 1.5), Case("woman and man", ("Allison", "Bruce"), 1.5))


def table(head: Sequence[str], rows: Iterator[Sequence[object]]) -> None:
    """Print a Markdown table row by row as results arrive."""
    for row in (head, ["---"] * len(head)):
        print("|", " | ".join(row), "|")
    for row in rows:
        print("|", " | ".join(map(str, row)), "|", flush=True)
    print()


def text_of(heard: Sequence[Heard]) -> str:
    """All words, joined."""
    return " ".join(segment.text for segment in heard)


def prompt_rows(recognizer: Recognizer, chosen: Sequence[Utterance]) -> Iterator[Sequence[object]]:
    """Word error rates of utterances, each as a separate recording."""
    scores = [
        (one.seconds, word_errors(one.text, text_of(recognizer.hear(one.samples))))
        for one in chosen
    ]
    for low, high in [(LENGTHS[0], LENGTHS[-1]), *zip(LENGTHS, LENGTHS[1:], strict=False)]:
        rates = [rate for seconds, rate in scores if low <= seconds < high]
        total = sum(rates, Rate(0, 0))
        name = f"{low:g} to {high:g} s" if high < LENGTHS[-1] else f"{low:g} s and more"
        yield "all" if high - low == LENGTHS[-1] else name, len(rates), int(total.whole), total


def scored(spoken: Sequence[Spoken], heard: Sequence[Heard]) -> Sequence[Heard]:
    """The segments whose words are scored: those outside the turns of people whose words are
    unknown."""

    def common(segment: Heard, is_known: bool) -> float:
        return sum(
            max(0.0, min(segment.end, turn.end) - max(segment.start, turn.start))
            for turn in spoken
            if bool(turn.text) == is_known
        )

    return [one for one in heard if common(one, True) >= common(one, False)]


def conversation_rows(
    recognizer: Recognizer, cases: Sequence[Case], voices: Mapping[str, Sequence[Utterance]]
) -> Iterator[Sequence[object]]:
    """All scores of each conversation."""
    for case in cases:
        built = build(case, voices)
        heard, spoken = recognizer.hear(built.samples), built.spoken
        known = [turn for turn in spoken if turn.text]
        with_words = scored(spoken, heard)
        plain = diarization_errors(spoken, heard)
        yield (
            f"{case.name} ({', '.join(case.people)})",
            case.channel,
            f"{case.minutes:g}",
            f"{len({one.speaker for one in heard})} of {len(case.people)}",
            word_errors(" ".join(turn.text for turn in known), text_of(with_words)),
            right_speakers(known, with_words, name_speakers(spoken, heard)),
            diarization_errors(spoken, heard, COLLAR).rate,
            plain.rate,
            f"{Rate(plain.missed, plain.spoken)}, {Rate(plain.false_alarm, plain.spoken)}, "
            f"{Rate(plain.confused, plain.spoken)}",
            near_borders(spoken, heard),
        )


def build(case: Case, voices: Mapping[str, Sequence[Utterance]]) -> Conversation:
    """Build the conversation of a case and send it through its channel."""
    people = {name: voices[name] for name in case.people}
    clean = converse(people, case.minutes * 60, case.gap)
    return Conversation(CHANNELS[case.channel](clean.samples), clean.spoken)


def invented_rows(recognizer: Recognizer, seconds: float) -> Iterator[Sequence[object]]:
    """Rows of words recognized in recordings without speech."""
    for name, samples in without_speech(seconds).items():
        heard = recognizer.hear(samples)
        count = len(words(text_of(heard)))
        yield name, f"{seconds / 60:.2g}", f"{count / seconds * 60:.1f}", text_of(heard)[:80]


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Score words, speakers, and times of the light recognizer."
    )
    parser.add_argument("--quick", action="store_true", help="use a small part of everything")
    parser.add_argument("--url", help="use the proxy at this address")
    parser.add_argument("--model", default="light", help="its model name (default: %(default)s)")
    parser.add_argument("--cache", type=Path, help="folder for recognized segments")
    parser.add_argument(
        "--only", choices=("words", "conversations", "invented"), nargs="*", help="some tables"
    )
    args = parser.parse_args()
    recognizer: Recognizer
    if args.url:
        recognizer = Proxy(args.url, args.model)
    else:
        recognizer = Light(find_moonshine(os.environ.get("VIBEVOICE_LIGHT_MODELS", "")))
        if args.cache:
            recognizer = Remembering(recognizer, args.cache)
    chosen = args.only or ("words", "conversations", "invented")
    started = time.monotonic()
    if "words" in chosen:
        head = ("recordings", "number", "words", "word error rate")
        step = EVERY if args.quick else 1
        print("Telephone prompts, one woman:\n")
        table(head, prompt_rows(recognizer, prompts()[::step]))
        print("Sentences and cards, a woman and a man:\n")
        table(head, prompt_rows(recognizer, [*librivox(), *cards()]))
    if "conversations" in chosen:
        head = ("conversation", "channel", "minutes", "speakers", "WER", "right speaker")
        head += ("DER, collar 0.25 s", "DER", "missed, invented, confused", "borders in 0.3 s")
        cases = QUICK_CASES if args.quick else CASES
        table(head, conversation_rows(recognizer, cases, load_voices()))
    if "invented" in chosen:
        head = ("without speech", "minutes", "words per minute", "such as")
        table(head, invented_rows(recognizer, 20 if args.quick else 300))
    print(f"{time.monotonic() - started:.0f} s in total")


if __name__ == "__main__":
    main()
