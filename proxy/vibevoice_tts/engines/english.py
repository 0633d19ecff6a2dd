"""English as the package hibari-tts reads it right: a sentence before its normalizer sees it.

The package spells out numbers, dates, times, money, units and abbreviations. Here is what it takes
wrong, tried with version 0.2.1.
"""

import re
from itertools import groupby
from unicodedata import category, normalize

MAX_NUMBER = 15
"""Digits of the longest number that is read as one; of more each is read by itself, as people do.
The package has names for 36 digits and breaks above."""
MAX_WORD = 40
"""Characters of a word; a longer one is no English word, and takes the package a time that grows
with the third power: 20 ms here, 1.5 s at 320."""

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
    """`sentence` with what the package reads wrong written in a way that it reads right."""
    text = _LIST_NUMBER.sub(r"\1,", _with_plain_numbers(sentence))
    text = _DOLLARS.sub("$", text)
    text = _MAGNITUDE.sub(lambda match: f"{match[1]} {_MAGNITUDES[match[2]]}", text)
    text = _CURRENCY_AFTER.sub(r"\2 \1", text)
    text = _CLOCK.sub(r" \1.m.", text)
    text = _RANGE.sub(" to ", text)
    # It takes "2/3." at the end for no fraction, and "555-0199." for no telephone number.
    text = _FINAL_PERIOD.sub(" .", text)
    text = _LONG_NUMBER.sub(lambda match: " ".join(match[0]), text)
    return _LONG_WORD.sub(lambda match: f"{match[0]} ", text)


def as_one_sentence(phonemes: str) -> str:
    """The phonemes of a sentence without the pauses of the periods of abbreviations within it, and
    with one at the end where it was taken for that of an abbreviation."""
    whole = " ".join(phonemes.replace(". ", " ").split())
    return whole if not whole or whole[-1] in _ENDS else f"{whole}."


def _with_plain_numbers(text: str) -> str:
    """`text` with a raised 4, Ⅳ and their like as plain numbers."""
    runs = (("".join(run), is_odd) for is_odd, run in groupby(text, _is_odd_number))
    return "".join(f" {normalize('NFKC', run)}" if is_odd else run for run, is_odd in runs)


def _is_odd_number(character: str) -> bool:
    """Whether it is one that the package does not know; it knows squares, cubes and fractions."""
    is_digit = character.isdigit() and not character.isdecimal()
    return character not in "²³" and (is_digit or category(character) == "Nl")
