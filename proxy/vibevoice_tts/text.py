"""Cleans text for speech and splits it at the ends of sentences."""

import re
from collections.abc import Iterable, Iterator

from vibevoice_tts.characters import BOUNDARY, UNSPOKEN, WIDE, WORD, english_marks, reveal
from vibevoice_tts.cues import without_cues
from vibevoice_tts.formulas import spell_formulas
from vibevoice_tts.markdown import (
    hide_code,
    hide_escapes,
    paragraphs,
    without_emphasis,
    without_links,
)
from vibevoice_tts.omitted import strip_control_tokens, without_omitted
from vibevoice_tts.tags import without_angles, without_tags

WIDE_WEIGHT = 3
"""Number of Latin letters that take as long to say as one Chinese, Japanese or Korean character:
languages are spoken at about 5 syllables per second, and an English syllable has about three
letters."""

_END = re.compile(
    r"""(?P<wide>[。！？；…]+[」』”’）】》]*\s*)|(?P<narrow>(?<![.!?;])[.!?;]++["'”’)\]]*+(?:\s+|$))|(?P<line>\n)"""
)
_FINAL = ".!?;:…。！？；："
_CLOSING = "\"'”’)]」』）】》"
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof sr jr st mt vs etc e.g i.e cf al fig figs vol no nos approx inc ltd co corp "
    "dept est gen col lt sgt capt rev hon gov sen rep ave blvd rd tel jan feb mar apr jun jul aug "
    "sep sept oct nov dec mon tue tues wed thu thurs fri pp "
    "a.m p.m u.s u.k ph.d z.b d.h usw bzw nr bspw ca str".split()
)
_LONGEST_ABBREVIATION = 12
"""Number of characters before a period that are checked."""
_UNSPOKEN = re.compile(f"[{UNSPOKEN}]")
_SEPARATOR = re.compile(r"(?<![ \t])[ \t]++[•·‣][ \t]+")
_EMPTY = re.compile(r"\(\s*\)|\[\s*\]|\{\s*\}")
_LOOSE = re.compile(r" +([,.!?;:])(?=\s|$)")
_COMMAS = re.compile(r",(?: ?,)+")


def clean(text: str) -> str:
    """`text` as it should be read aloud: without Markdown, tags, LaTeX, control tokens and emoji.

    Code blocks and reasoning are removed, links keep their text, and a bare URL becomes its host
    name. A line break is kept only after a heading, a list item or a paragraph.
    """
    text = hide_code(without_omitted(text))
    text = hide_escapes(spell_formulas(text))
    text = without_tags(without_links(text))
    spoken = (_spoken(paragraph) for paragraph in paragraphs(text))
    return "\n".join(paragraph for paragraph in spoken if WORD.search(paragraph))


def _spoken(paragraph: str) -> str:
    """A paragraph without inline markup, with only punctuation that the models support."""
    text = strip_control_tokens(reveal(paragraph))
    text = without_angles(without_emphasis(without_cues(text)).replace(BOUNDARY, " "))
    text = _UNSPOKEN.sub(" ", _SEPARATOR.sub(", ", text))
    text = english_marks(_EMPTY.sub("", text))
    text = " ".join(text.split())
    return _COMMAS.sub(",", _LOOSE.sub(r"\1", text))


def count_words(text: str) -> int:
    """Number of words; each Chinese, Japanese or Korean character counts as one."""
    return sum(1 for _ in WORD.finditer(text))


def weight(text: str) -> int:
    """The spoken length of `text`, measured in Latin letters; see WIDE_WEIGHT."""
    wide = len(re.findall(f"[{WIDE}]", text))
    return len(text) + (WIDE_WEIGHT - 1) * wide


def sentences(text: str) -> list[str]:
    """The sentences of `text`, each with final punctuation; those without a word are left out.

    Abbreviations, initials, numbers and list numbers do not end a sentence.
    """
    found, start = [], 0
    for match in _END.finditer(text):
        if match["narrow"] and not _ends_sentence(text, start, match):
            continue
        found.append(text[start : match.end()])
        start = match.end()
    found.append(text[start:])
    return [_finished(sentence) for part in found if WORD.search(sentence := part.strip())]


def split_text(text: str, limit: int) -> list[str]:
    """Split `text` into parts of at most `limit` by `weight`; only longer sentences are cut."""
    return list(_packed(short_enough(sentences(text), limit), limit))


def short_enough(parts: Iterable[str], limit: int) -> Iterator[str]:
    """Cut `parts` above `limit` by `weight` at a comma, otherwise between words or anywhere.
    Pieces without a word, such as the final mark of a long word, are left out."""
    return (piece for part in parts for piece in _pieces(part, limit) if WORD.search(piece))


def _pieces(part: str, limit: int) -> Iterator[str]:
    while weight(part[: limit + 1]) > limit:
        end = _fitting(part, limit)
        cuts = [match.end() for match in re.finditer(r"[,:、，：]\s*|\s[–—-]\s", part[:end])]
        cuts = [cut for cut in cuts if cut > end // 3] or [
            match.end() for match in re.finditer(r"\s+", part[:end])
        ]
        cut = cuts[-1] if cuts else end
        yield part[:cut].strip()
        part = part[cut:].strip()
    yield part


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    mark = match["narrow"].strip()
    following = text[match.end() : match.end() + 1]
    if mark != ".":
        # "Really?" he asked.
        return not (mark[-1] in _CLOSING and following.islower())
    if not following:
        return True
    before = text[max(start, match.start() - _LONGEST_ABBREVIATION) : match.start()]
    word = before.split(" ")[-1].split("\n")[-1].lstrip("([\"'“‘").lower()
    if word in _ABBREVIATIONS or following.islower():
        return False
    initial = len(word) == 1 and word != word.upper() and word != "i"
    numbered = word.isdecimal() and len(word) <= 3 and before.strip() == word
    return not (initial or numbered)


def _finished(sentence: str) -> str:
    bare = sentence.rstrip(_CLOSING + " ")
    if bare and bare[-1] in _FINAL:
        return sentence
    bare = sentence.rstrip(",，、-– ")
    return f"{bare}."


def _fitting(text: str, limit: int) -> int:
    """How many leading characters of `text` weigh at most `limit`; at least one."""
    total = 0
    for index, character in enumerate(text):
        total += weight(character)
        if total > limit:
            return max(index, 1)
    return len(text)


def _packed(parts: Iterable[str], limit: int) -> Iterator[str]:
    """Join adjacent parts as long as the result stays within `limit`."""
    pending = ""
    for part in parts:
        joined = f"{pending} {part}" if pending else part
        if pending and weight(joined) > limit:
            yield pending
            pending = part
        else:
            pending = joined
    if pending:
        yield pending
