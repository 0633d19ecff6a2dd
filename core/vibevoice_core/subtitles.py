"""Formats the segments of a transcript as subtitles: SubRip (srt) and WebVTT (vtt).

Cues are in order, have a duration above zero, and stay within the limits of what a viewer can read.
Long segments are split at sentence ends, or else at commas, or else between words. Their time is
divided in proportion to the length of the text.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from vibevoice_core.speakers import on_one_line

MIN_SECONDS = 0.1
"""Shortest cue; players skip cues without a duration."""
MIN_WIDTH = 20
"""Characters: shorter parts are not split off just because a segment is long."""
LONGEST_CUE = 20
"""How far a text is searched for the end of a cue, in multiples of a usual cue's size, so that
splitting takes linear time."""
SPLIT_SHARE = 1 / 3
"""Fraction of a full cue after which a sentence end or a comma is accepted as its end."""
_SENTENCE_END = re.compile(r"[.!?…。！？]+[\"'”’)\]」』]*(?=\s|$)|[。！？]+[」』”’）]*")
_CLAUSE_END = re.compile(r"[,;:–—](?=\s)|[，、；：]")
_WORD_END = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a cue; 0 means no limit."""

    line_width: int = 42
    """Characters per line; wide ones (Chinese, Japanese, Korean) count as two. Broadcasting usually
    allows 42."""
    line_count: int = 2
    """Lines per cue."""
    seconds: float = 7.0
    """Maximum seconds that a cue is shown."""


@dataclass(frozen=True, slots=True)
class Cue:
    """A text to show; without limits, one cue per segment."""

    start: float
    """Seconds."""
    end: float
    """Seconds."""
    speaker: str | None
    text: str
    """On one line, or wrapped to several lines."""


def srt(segments: Iterable[Cue], limits: Limits) -> str:
    """The segments as an srt file. Speakers are named if there is more than one."""
    cues = _arranged(segments, limits, label="{}: ")
    return "\n".join(
        f"{number}\n{_time(cue.start, ',')} --> {_time(cue.end, ',')}\n{cue.text}\n"
        for number, cue in enumerate(cues, 1)
    )


def vtt(segments: Iterable[Cue], limits: Limits) -> str:
    """The segments as a vtt file. Speakers are named if there is more than one."""
    cues = ["WEBVTT\n"]
    for cue in _arranged(segments, limits, label=""):
        voice = f"<v {_escaped(cue.speaker)}>" if cue.speaker else ""
        times = f"{_time(cue.start, '.')} --> {_time(cue.end, '.')}"
        cues.append(f"{times}\n{voice}{_escaped(cue.text)}\n")
    return "\n".join(cues)


def _escaped(text: str) -> str:
    """https://www.w3.org/TR/webvtt1/#webvtt-cue-text: these three, and so `-->`, are escaped."""
    return html.escape(text, quote=False)


def _arranged(segments: Iterable[Cue], limits: Limits, label: str) -> list[Cue]:
    """The cues to write; `label` precedes the text of a named speaker."""
    found = [
        replace(segment, speaker=on_one_line(segment.speaker or "") or None) for segment in segments
    ]
    several = len({segment.speaker for segment in found} - {None}) > 1
    cues: list[Cue] = []
    for segment in found:
        named = segment if several else replace(segment, speaker=None)
        prefix = label.format(named.speaker) if named.speaker else ""
        cues += _split(named, limits, prefix)
    return _in_time(sorted(cues, key=lambda cue: (cue.start, cue.end)))


def _split(segment: Cue, limits: Limits, prefix: str) -> Iterator[Cue]:
    """The cues of one segment."""
    text = " ".join(segment.text.split())
    seconds = max(segment.end - segment.start, 0.0)
    parts = list(_parts(text, limits, prefix, _most(text, seconds, limits)))
    total = sum(map(_width, parts)) or 1
    position = 0
    for part in parts:
        start = segment.start + seconds * position / total
        position += _width(part)
        end = segment.start + seconds * position / total
        if limits.seconds:
            end = min(end, start + limits.seconds)
        lines = _wrapped(prefix + part, limits.line_width)
        yield replace(segment, start=start, end=end, text="\n".join(lines))


def _most(text: str, seconds: float, limits: Limits) -> int:
    """Maximum columns of text per cue so that none is shown too long; 0 for no limit."""
    if not limits.seconds or seconds <= limits.seconds:
        return 0
    return max(MIN_WIDTH, int(_width(text) * limits.seconds / seconds))


def _parts(text: str, limits: Limits, prefix: str, most: int) -> Iterator[str]:
    """`text`, split into parts that each fit into a cue."""
    while text:
        end = _fitting(text, limits, prefix, most)
        if end < len(text):
            end = _best_end(text, end)
        yield text[:end].strip()
        text = text[end:].strip()


def _fitting(text: str, limits: Limits, prefix: str, most: int) -> int:
    """How many characters of `text` fit into one cue, up to the end of a word if one fits."""

    def fits(end: int) -> bool:
        part = text[:end].rstrip()
        if most and _width(part) > most:
            return False
        lines = _wrapped(prefix + part, limits.line_width)
        return not limits.line_count or not limits.line_width or len(lines) <= limits.line_count

    whole = len(text)
    text = text[: LONGEST_CUE * max(1, (limits.line_width or 100) * (limits.line_count or 1))]
    if len(text) == whole and fits(whole):
        return whole
    ends = [match.start() for match in _WORD_END.finditer(text)]
    low, high = 0, len(ends)
    while low < high:  # find the first word end that does not fit
        middle = (low + high) // 2
        low, high = (middle + 1, high) if fits(ends[middle]) else (low, middle)
    if low:
        return ends[low - 1]
    first_word = ends[0] if ends else len(text)
    width = limits.line_width - _width(prefix) if limits.line_width else len(text)
    if not _is_wide(text[0]) and _width(text[:first_word]) <= width:
        return first_word  # a word that fits on a line is never split
    low, high = 1, first_word
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _best_end(text: str, end: int) -> int:
    """The best position to end a part of at most `end` characters."""
    for pattern in (_SENTENCE_END, _CLAUSE_END):
        ends = [match.end() for match in pattern.finditer(text, 0, min(end + 1, len(text)))]
        if ends := [found for found in ends if SPLIT_SHARE * end <= found <= end]:
            return ends[-1]
    return end


def _wrapped(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` columns, broken between words or wide characters; longer
    words are cut."""
    if not width or _width(text) <= width:
        return [text]
    lines: list[str] = []
    line, columns, last_space = "", 0, -1
    for character in text:
        size = 2 if _is_wide(character) else 1
        if columns + size > width and line:
            if character == " ":
                lines.append(line)
                line, columns, last_space = "", 0, -1
                continue
            if last_space > 0 and not _is_wide(character):
                lines.append(line[:last_space])
                line = line[last_space + 1 :]
            else:
                lines.append(line.rstrip())
                line = ""
            columns, last_space = _width(line), -1
        if character == " ":
            last_space = len(line)
        line += character
        columns += size
    return [*lines, line] if line else lines


def _in_time(cues: Sequence[Cue]) -> list[Cue]:
    """`cues` in order, each with a duration, and ended by the next one if that leaves any time."""
    arranged: list[Cue] = []
    for number, cue in enumerate(cues):
        start = round(cue.start, 3)
        end = max(round(cue.end, 3), start + MIN_SECONDS)
        following = round(cues[number + 1].start, 3) if number + 1 < len(cues) else end
        if start + MIN_SECONDS <= following < end:
            end = following
        arranged.append(replace(cue, start=start, end=end))
    return arranged


def _width(text: str) -> int:
    return sum(2 if _is_wide(character) else 1 for character in text)


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def _time(seconds: float, decimal_mark: str) -> str:
    milliseconds = round(seconds * 1000)
    hours, milliseconds = divmod(milliseconds, 3_600_000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    whole, milliseconds = divmod(milliseconds, 1000)
    return f"{hours:02d}:{minutes:02d}:{whole:02d}{decimal_mark}{milliseconds:03d}"
