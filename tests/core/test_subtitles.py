"""Subtitles that players can show and viewers can read."""

import itertools
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.support.processes import cpu_seconds

from vibevoice_core.subtitles import Cue, Limits, srt, vtt

SENTENCES = (
    "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background, and "
    "wait. It is easy to tell the depth of a well! These days a chicken leg is a rare dish, is it "
    "not? Rice is often served in round bowls."
)
CHINESE = "今天天气很好，我们一起去公园散步吧。你觉得怎么样？" * 6
LONG = Cue(10.0, 34.0, None, SENTENCES)
TIME = re.compile(r"(\d\d):(\d\d):(\d\d)[,.](\d\d\d) --> (\d\d):(\d\d):(\d\d)[,.](\d\d\d)")


def cues(text: str) -> list[tuple[float, float, str]]:
    """(start, end, text) of an srt or vtt file."""
    found = []
    for block in re.split(r"\n\n", text.removeprefix("WEBVTT\n").strip()):
        lines = block.strip("\n").split("\n")
        at = next(n for n, line in enumerate(lines) if "-->" in line)
        match = TIME.fullmatch(lines[at])
        assert match, lines
        h, m, s, ms, h2, m2, s2, ms2 = map(int, match.groups())
        start, end = 3600 * h + 60 * m + s + ms / 1000, 3600 * h2 + 60 * m2 + s2 + ms2 / 1000
        found.append((start, end, "\n".join(lines[at + 1 :])))
    return found


def test_a_long_segment_is_split_at_sentences() -> None:
    """Each cue is within the limits and within the segment's time, and no words change."""
    found = cues(srt([LONG], Limits()))
    assert " ".join(" ".join(text.split()) for _, _, text in found) == SENTENCES
    assert found[0][0] == 10.0
    assert found[-1][1] == 34.0
    for start, end, text in found:
        assert end - start <= 7.0
        assert all(len(line) <= 42 for line in text.split("\n"))
        assert text.count("\n") < 2
    assert [text[-1] in ".!?," for _, _, text in found].count(True) >= len(found) - 1


@pytest.mark.parametrize("width", [0, 10, 20, 42, 80])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("seconds", [0, 2.0, 7.0])
@pytest.mark.parametrize(
    "text", [SENTENCES, CHINESE, "word " * 300, "x" * 500, "Yes.", "a-b " * 50], ids=range(6)
)
def test_limits_hold_and_no_word_is_lost(text: str, seconds: float, count: int, width: int) -> None:
    """Whatever the limits, all characters are preserved in order."""
    segment = Cue(0.0, 40.0, "A", text)
    found = cues(srt([segment, Cue(50, 51, "B", "End.")], Limits(width, count, seconds)))
    written = "".join(re.sub(r"\AA:\s*", "", cue) for _, _, cue in found[:-1])
    assert re.sub(r"\s", "", written) == re.sub(r"\s", "", text)
    for start, end, cue in found:
        assert start < end
        assert not seconds or end - start <= seconds + 0.002
        lines = cue.split("\n")
        if width:
            columns = [len(line) + sum(c >= "\u3000" for c in line) for line in lines]
            assert max(columns) <= width
        if width and count:
            assert len(lines) <= count


def test_without_limits_a_segment_is_a_cue() -> None:
    """The cues are the segments of the JSON formats."""
    assert cues(srt([LONG], Limits(0, 0, 0))) == [(10.0, 34.0, SENTENCES)]


def test_wide_characters_count_twice() -> None:
    """A line has room for half as many of them."""
    for _, _, text in cues(srt([Cue(0, 60, None, CHINESE)], Limits())):
        assert all(len(line) <= 21 for line in text.split("\n"))


@pytest.mark.parametrize("write", [srt, vtt])
def test_cues_are_in_order_and_none_is_empty(write: object) -> None:
    """Segments may overlap, run backward, or have no duration."""
    times = [(5, 9), (0, 4), (2, 2), (2, 2), (3, 30), (8, 8.01), (40, 39), (39.9995, 39.9996)]
    segments = [Cue(start, end, "AB"[n % 2], f"Words {n}.") for n, (start, end) in enumerate(times)]
    found = cues((srt if write is srt else vtt)(segments, Limits()))
    assert len(found) == len(segments)
    assert all(start < end for start, end, _ in found)
    for (start, end, _), (following, _, _) in itertools.pairwise(found):
        assert following >= start
        assert following - start < 0.1 or end <= following


def test_speakers_are_named_where_there_are_several() -> None:
    """The name is on every cue of a split segment; a voice tag in vtt does not count toward the
    width."""
    segments = [replace(LONG, speaker="A"), Cue(40, 41, "B", "Yes.")]
    assert all(text[:3] in ("A: ", "B: ") for _, _, text in cues(srt(segments, Limits())))
    assert all(text[:5] in ("<v A>", "<v B>") for _, _, text in cues(vtt(segments, Limits())))
    assert "A" not in [text[0] for _, _, text in cues(srt(segments[:1], Limits()))]


def test_vtt_escapes_what_is_markup_there() -> None:
    """Text is escaped after lines are wrapped, so no escape is cut."""
    text = vtt([Cue(0, 3, None, "a < b && c --> d " * 6)], Limits())
    assert "&lt;" in text and text.count("-->") == len(cues(text))
    assert "&am\np" not in text


@pytest.mark.parametrize("write", [srt, vtt])
def test_a_name_is_not_markup(write: Callable[[list[Cue], Limits], str]) -> None:
    """Names come from clients and other servers: they add neither tags nor cues."""
    name = "A>B&<i>\n\n00:00:01.000 --> 00:00:09.000\nInjected"
    text = write([Cue(0, 1, name, "Yes."), Cue(1, 2, "C", "No.")], Limits(line_width=0))
    assert len(cues(text)) == 2
    if write is vtt:
        assert "<v A&gt;B&amp;&lt;i&gt; 00:00:01.000 --&gt; 00:00:09.000 Injected>Yes." in text


def test_a_text_of_many_pages_takes_linear_time() -> None:
    """About 0.6 s. A search through the whole rest of the text for each cue took 15 s."""
    segment = Cue(0, 3600, None, "word and word, " * 7_000)
    assert cpu_seconds(lambda: srt([segment], Limits()), 5) < 5
