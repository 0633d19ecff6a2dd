"""Speaker labels in scripts, in the forms in which people and models write them.

| form | counts as a label |
|---|---|
| `Speaker 1: Hello`, `SPEAKER_01：Hello`, `Speaker 1 (calm): Hello` | always |
| `[Speaker 1]: Hello`, `[Speaker 1] Hello`, `[1]: Hello`, `[S1] Hello` | always |
| `**Speaker 1**` or `### Speaker 1` alone on its line | always |
| `Speaker 1 - Hello`, `Speaker 1` alone on its line | if at least two lines have that form |

Markdown for emphasis, quotations, lists and headings, or a bracketed time, may surround a label.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from vibevoice_tts.characters import WORD

_NUMBERED = r"Speaker(?:[ \t_#-]*[0-9]{1,3}|[ \t_]+[A-Z])(?!\w)"
_IN_BRACKETS = r"[0-9]{1,2}|S[0-9]{1,2}"
_TAG = r"</?(?:b|strong|i|em|u|p|span)>"
_LEAD = rf"(?:[ \t>#*_+`•-]|\d{{1,3}}[.)][ \t]|{_TAG}|\[\d[\d:., >-]{{2,40}}\])*"
_MARKS = rf"(?:[ \t]*(?:[*_`]{{1,3}}|{_TAG}))*+"
_NOTE = r"(?:[ \t]*(?:\([^()\n]{0,60}\)|\[[^\[\]\n]{0,60}\]))?"
_TIME = r"(?:[ \t]+\(?\d{1,2}:\d\d(?::\d\d)?\)?)?"
_END = (
    rf"(?P<colon>{_NOTE}{_MARKS}[ \t]*[:：]{_MARKS})|(?P<dash>[ \t]+[-–—](?=[ \t]))"
    rf"|(?P<alone>{_TIME}[ \t]*$)|"
)
_SENTENCE_END = r"(?<=[.!?…。！？\"'”’)\]])[ \t]+"
_TARGET = re.compile(r"<?(?:[a-z][a-z0-9+.-]*:/|mailto:|www\.|[./#])", re.IGNORECASE)
_SPEAKER = re.compile(r"(?:speaker|s)?[ #-]*0*([0-9]+)")


@dataclass(frozen=True)
class Line:
    """A line of a script."""

    speaker: str
    """Key of the speaker that its label names (`speaker_key`); empty if it has no label."""
    text: str
    """The spoken text."""


def speaker_key(name: str) -> str:
    """A key shared by all spellings of a name, such as `SPEAKER_01` and `Speaker 1`."""
    plain = " ".join(name.replace("_", " ").replace("’", "'").casefold().split())
    number = _SPEAKER.fullmatch(plain)
    return f"speaker {number[1]}" if number else plain


def read_labels(text: str, names: Iterable[str]) -> list[Line] | None:
    """The lines of a script, or None if `text` is not a script.

    A name in `names` is a label wherever it begins a line. Without names, a text is a script if its
    first line, the line after its title, or any two lines have a label.
    """
    given = sorted((name for name in names if name.strip()), key=len, reverse=True)
    who = "|".join([*map(_pattern, given), _NUMBERED])
    label = re.compile(
        rf"(?P<lead>{_LEAD})(?:\[[ \t]*(?P<inside>{who}|{_IN_BRACKETS})[ \t]*\]|(?P<name>{who}))"
        rf"(?P<marks>{_MARKS})(?:{_END})[ \t]*",
        re.IGNORECASE,
    )
    another = re.compile(rf"{_SENTENCE_END}(?=[*_]*(?:{who})[*_]*[ \t]?[:：])", re.IGNORECASE)
    found = [(line, label.match(line)) for line in _lines(text, label, another)]
    kinds = [_kind(match) if match else "none" for _, match in found]
    accepted = ("label", "maybe") if kinds.count("maybe") >= 2 else ("label",)
    lines = [
        Line(speaker_key(match["name"] or match["inside"]), line[match.end() :])
        if match and kind in accepted
        else Line("", line)
        for (line, match), kind in zip(found, kinds, strict=True)
    ]
    return lines if given or _is_script(lines) else None


def _pattern(name: str) -> str:
    words = ("['’]".join(map(re.escape, re.split("['’]", word))) for word in name.split())
    return r"[ \t]+".join(words) + r"(?!\w)"


def _lines(text: str, label: re.Pattern[str], another: re.Pattern[str]) -> Iterator[str]:
    """The lines of a text; a line that begins with a label is split at any further labels."""
    for line in text.split("\n"):
        match = label.match(line)
        begin = match.end() if match else len(line)
        first, *others = another.split(line[begin:])
        yield line[:begin] + first
        yield from others


def _is_script(lines: list[Line]) -> bool:
    said = [line.speaker for line in lines if line.speaker or WORD.search(line.text)]
    labels = [index for index, speaker in enumerate(said) if speaker]
    return len(labels) >= 2 or labels in ([0], [1])


def _kind(match: re.Match[str]) -> Literal["label", "maybe", "none"]:
    """Classify the beginning of a line: `maybe` is a label only if another line has that form."""
    alone, rest = match["alone"] is not None, match.string[match.end() :]
    if match["inside"]:
        if match["inside"].isdecimal():
            is_label = match["colon"] is not None and not _TARGET.match(rest)
        else:
            is_label = match["dash"] is None
        return "label" if is_label else "none"
    if match["colon"] or (alone and ("#" in match["lead"] or match["marks"])):
        return "label"
    return "maybe" if alone or match["dash"] else "none"
