"""Rewrites English sentences so that the normalizer of hibari-tts reads them correctly.

The package spells out numbers, dates, times, money, units and abbreviations. This module works
around the cases that version 0.2.1 gets wrong.
"""

import re
from itertools import groupby
from unicodedata import category, normalize

MAX_NUMBER = 15
"""Maximum digits of a number that is read as a whole; longer numbers are read digit by digit, as
people do. The package has names for up to 36 digits and fails beyond that."""
MAX_WORD = 40
"""Maximum characters of a word. Longer ones are not English words, and the package's processing
time grows cubically: 20 ms at this length, 1.5 s at 320."""

_ENDS = '.,;:!?…—)"“”'

_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_LONG_NUMBER = re.compile(rf"\d{{{MAX_NUMBER + 1},}}")
_LONG_WORD = re.compile(rf"\S{{{MAX_WORD}}}(?=\S)")
_LIST_NUMBER = re.compile(r"^(\d{1,3})\.(?=\s)")
_FINAL_PERIOD = re.compile(r"(?<=\d)\.(?=[\"')\]]*$)")
_MAGNITUDE = re.compile(rf"([$£€]{_NUMBER})\s?(mn|bn|tn)\b")
_MAGNITUDES = {"mn": "million", "bn": "billion", "tn": "trillion"}
_CURRENCY_AFTER = re.compile(rf"({_NUMBER})\s?(USD|EUR|GBP)\b")
_DOLLARS = re.compile(r"\bUS\$(?=\d)")
_CLOCK = re.compile(r"(?<=\d)\s?([ap])m\b\.?", re.IGNORECASE)
_RANGE = re.compile(
    r"(?<=\d)–(?=[$£€]?\d)|(?<=\d)-(?=\d+(?:\.\d+)?\s?%)|(?<=\d [ap]\.m\.)[-–](?=\d)",
    re.IGNORECASE,
)


def readable(sentence: str) -> str:
    """Rewrite the parts of `sentence` that the package would misread."""
    text = _LIST_NUMBER.sub(r"\1,", _with_plain_numbers(sentence))
    text = _DOLLARS.sub("$", text)
    text = _MAGNITUDE.sub(lambda match: f"{match[1]} {_MAGNITUDES[match[2]]}", text)
    text = _CURRENCY_AFTER.sub(r"\2 \1", text)
    text = _CLOCK.sub(r" \1.m.", text)
    text = _RANGE.sub(" to ", text)
    # At the end of a sentence, the package recognizes neither the fraction in "2/3." nor the phone
    # number in "555-0199.".
    text = _FINAL_PERIOD.sub(" .", text)
    text = _LONG_NUMBER.sub(lambda match: " ".join(match[0]), text)
    return _LONG_WORD.sub(lambda match: f"{match[0]} ", text)


def as_one_sentence(phonemes: str) -> str:
    """Remove the pauses after abbreviations within a sentence, and add the final pause if the last
    period was mistaken for that of an abbreviation."""
    whole = " ".join(phonemes.replace(". ", " ").split())
    return whole if not whole or whole[-1] in _ENDS else f"{whole}."


def _with_plain_numbers(text: str) -> str:
    """`text` with superscript digits, Ⅳ and similar characters as plain numbers."""
    runs = (("".join(run), is_odd) for is_odd, run in groupby(text, _is_odd_number))
    return "".join(f" {normalize('NFKC', run)}" if is_odd else run for run, is_odd in runs)


def _is_odd_number(character: str) -> bool:
    """Whether the package does not support `character`; it supports ², ³ and fractions."""
    is_digit = character.isdigit() and not character.isdecimal()
    return character not in "²³" and (is_digit or category(character) == "Nl")
