"""Matching of voices by their vectors, with confidences; selection of speech for a voice."""

from collections.abc import AsyncGenerator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from tests.support.recordings import tone

from vibevoice_light import Window, open_voices
from vibevoice_light.pool import LightPool
from vibevoice_proxy.transcription.identities import Judgment, Speaker, identify, judge
from vibevoice_proxy.transcription.linking import link_stream, link_whole
from vibevoice_proxy.transcription.metrics import TranscriptionMetrics
from vibevoice_proxy.transcription.section_audio import read_piece
from vibevoice_proxy.transcription.sections import Recording
from vibevoice_proxy.transcription.transcode import transcode
from vibevoice_proxy.transcription.transcript import Segment, Transcript
from vibevoice_proxy.transcription.voice_finder import VoiceFinder
from vibevoice_proxy.transcription.voices import KnownSpeaker, Voice, clean_spans, voices_of

SAME = 0.5


def voice(angle: float, seconds: float = 20.0) -> Voice:
    """A voice whose dot product with another one is the cosine of the angle between them, in
    degrees."""
    at = np.radians(angle)
    return Voice(np.array([np.cos(at), np.sin(at), 0], np.float32), seconds)


def speakers(*found: tuple[int, float | None]) -> list[Speaker]:
    """Speakers, given as (section, angle)."""
    return [Speaker(section, None if angle is None else voice(angle)) for section, angle in found]


def test_equal_speakers_of_several_sections_are_one() -> None:
    """People are in order of appearance; a speaker without a clear voice stays separate."""
    heard = speakers((1, 0), (1, 90), (2, 85), (2, 5), (3, None), (3, 10))
    found = identify(heard, [], SAME)
    assert found == [[0, 3, 5], [1, 2], [4]]
    sure, also_sure, unknown = judge(found, heard, [])
    assert sure.confidence and sure.confidence > 0.95 and sure.similar is None
    assert also_sure.confidence and also_sure.confidence > 0.95
    assert unknown == Judgment(None, None)


def test_two_of_one_section_are_never_one() -> None:
    """They stay apart however similar they are, because their recognizer separated them. The better
    match is joined."""
    assert identify(speakers((1, 0), (2, 20), (2, 4)), [], SAME) == [[0, 2], [1]]


def test_the_doubtful_stay_apart_and_say_so() -> None:
    """Just below the threshold, both people are reported as similar to each other."""
    heard = speakers((1, 0), (2, 63))  # a cosine of 0.45
    found = identify(heard, [], SAME)
    assert found == [[0], [1]]
    first, second = judge(found, heard, [])
    assert first.similar == 1 and second.similar == 0
    assert first.confidence == second.confidence
    assert first.confidence and 0.6 < first.confidence < 0.85


def test_known_people_come_first_and_are_never_joined() -> None:
    """Two speakers of one section are never the same known person; an absent known person gets no
    speaker."""
    people = [voice(0), voice(10), voice(180)]
    heard = speakers((1, 2), (1, 9), (2, 11), (2, 100))
    assert identify(heard, people, SAME) == [[0], [1, 2], [], [3]]
    assert identify([], people, SAME) == [[], [], []]


def test_who_may_be_an_absent_known_person_is_told() -> None:
    """The similar person is an index into the names."""
    heard = speakers((1, 64))
    found = identify(heard, [voice(0)], SAME)
    assert found == [[], [0]]
    assert judge(found, heard, [voice(0)])[1].similar == 0


def test_a_short_reference_needs_less() -> None:
    """Its dot products are lower, so its threshold is; speakers of the recording need the full
    threshold."""
    heard = speakers((1, 64))  # a cosine of 0.44
    assert identify(heard, [voice(0, seconds=2)], SAME) == [[0]]
    assert identify(heard, [voice(0, seconds=9)], SAME) == [[], [0]]
    assert identify([*heard, Speaker(2, voice(0, seconds=2))], [], SAME) == [[0], [1]]


def test_nobody_else_speaks_in_clean_spans() -> None:
    """Overlaps, noises and short segments are left out; the longest parts come first and are cut
    into pieces; the total is limited."""
    segments = [
        Segment(0, 10, "A", "a"),
        Segment(8, 12, "B", "b"),
        Segment(12, 12.5, "C", "c"),
        Segment(14, 17, None, "[Music]"),
        Segment(16, 20, "B", "d"),
        Segment(100, 200, "D", "e"),
        Segment(110, 111, "A", "f"),
    ]
    spans = clean_spans(segments)
    assert spans["A"] == [(0, 8)]
    assert spans["B"] == [(17, 20), (10, 12)]
    assert spans["C"] == []
    assert spans["D"] == [(100, 108), (108, 110)]
    long = clean_spans([Segment(0, 3000, "A", "a")])["A"]
    assert sum(end - start for start, end in long) == 30


def test_the_main_voice_of_windows() -> None:
    """The main voice of a piece in which someone else speaks briefly, and of windows without a
    clear voice."""
    windows = [Window(at / 2, at / 2 + 1.5, voice(2 * at).vector) for at in range(10)]
    windows += [Window(20, 21.5, voice(120).vector), Window(30, 30.5, voice(120).vector)]
    main, other = voices_of(windows)
    assert main.seconds == pytest.approx(6.0)
    assert main.vector @ voice(9).vector > 0.99
    assert other.seconds == 1.5
    assert voices_of([Window(0, 0.9, voice(0).vector)]) == []


def recording(files: ExitStack, folder: Path, seconds: float) -> Recording:
    """A sliding tone in two sections."""
    samples = (tone(seconds, 24_000) * 10_000).astype(np.int16)
    numbers = iter(range(9))

    def new_file() -> BinaryIO:
        file = (folder / str(next(numbers))).open("w+b", buffering=0)
        return files.enter_context(file)

    return transcode(
        iter([samples]),
        new_file,
        encoding="auto",
        max_section_seconds=seconds / 1.5,  # type: ignore[arg-type]
    )


def test_pieces_are_read_beside_each_other(tmp_path: Path) -> None:
    """Pieces can be read from sections in memory and in files while another reader uses them; times
    may be rounded."""
    with ExitStack() as files:
        sections = recording(files, tmp_path, 60).sections
        assert len(sections) == 2
        for section in sections:
            section.file.seek(7)
            piece = read_piece(section, 1.0, 3.0)
            assert len(piece) == 32_000
            assert np.abs(piece).max() == pytest.approx(10_000 / 32768 * 0.5, rel=0.5)
            assert section.file.tell() == 7
            assert len(read_piece(section, -0.001, 0.1)) == pytest.approx(1600, abs=16)
            end = section.duration
            assert len(read_piece(section, end - 0.1, end + 1)) == pytest.approx(1600, abs=16)
            assert len(read_piece(section, end + 1, end + 2)) == 0


async def test_a_segment_is_not_held_for_long(tmp_path: Path) -> None:
    """A speaker with too little speech is decided 30 s later in the recording, not at the end of
    the section."""
    speakers_at = ((0, "A"), (31, "A"), (65, "A"), (66, "B"), (100, "A"), (110, "A"))
    segments = [Segment(at, at + 1, who, "x", section=1 + (at > 30)) for at, who in speakers_at]
    read: list[float] = []

    async def results() -> AsyncGenerator[Segment | Transcript]:
        for segment in segments:
            read.append(segment.start)
            yield segment
        yield Transcript(tuple(segments), 120)

    known = [KnownSpeaker("Ann", voice(0))]
    sent: list[tuple[str | None, float, float]] = []
    async with open_voices() as pool:
        finder = VoiceFinder(dead(pool), TranscriptionMetrics(CollectorRegistry()))
        with ExitStack() as files:
            made = recording(files, tmp_path, 120)
            async for one in link_stream(results(), made, finder, known, SAME):
                if isinstance(one, Segment):
                    sent.append((one.speaker, one.start, read[-1]))
    assert sent == [
        ("A", 0, 31), ("B", 31, 65), ("B", 65, 65),
        ("C", 66, 100), ("B", 100, 100), ("B", 110, 110),
    ]  # fmt: skip


def dead(pool: LightPool) -> LightPool:
    """A pool whose worker never starts."""

    async def start() -> None:
        """Do nothing."""

    return LightPool(pool.workers, start_timeout=0.1, start=start)


@pytest.mark.parametrize("link", [link_whole, link_stream])
async def test_without_a_worker_nobody_is_joined_and_nothing_is_lost(
    link: type, tmp_path: Path
) -> None:
    """Every speaker of every section is then a separate person, without a confidence."""

    async def results() -> AsyncGenerator[Segment | Transcript]:
        segments = [Segment(at, at + 5, "A", f"{at}", section=1 + at // 30) for at in (0, 10, 45)]
        for segment in segments:
            yield segment
        yield Transcript(tuple(segments), 60)

    async with open_voices() as pool:
        metrics = CollectorRegistry()
        finder = VoiceFinder(dead(pool), TranscriptionMetrics(metrics))
        with ExitStack() as files:
            made = recording(files, tmp_path, 60)
            *sent, last = [r async for r in link(results(), made, finder, [], SAME)]
    assert isinstance(last, Transcript)
    assert [one.speaker for one in last.segments] == ["A", "A", "B"]
    assert [one.speaker for one in sent] == (["A", "A", "B"] if sent else [])
    assert [(one.label, one.confidence) for one in last.people] == [("A", None), ("B", None)]
    labels = {"upstream": "speakers", "code": "upstream_unavailable"}
    assert metrics.get_sample_value("vibevoice_upstream_errors_total", labels)
