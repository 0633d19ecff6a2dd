"""The model's text becomes segments despite its mistakes and in chunks of any size."""

import json

import pytest

from vibevoice_proxy.transcription.model_text import TranscriptDecoder
from vibevoice_proxy.transcription.transcript import Segment, join_speech

DURATION = 100.0


def decode(text: str, step: int = 10_000, duration: float = DURATION) -> list[Segment]:
    """The segments of `text`, fed `step` characters at a time."""
    decoder = TranscriptDecoder(duration)
    segments = []
    for at in range(0, len(text), step):
        segments += decoder.feed(text[at : at + step])
    return segments + decoder.finish()


TRICKY = "assistant\n" + json.dumps(
    [
        {"Start": 0, "End": 1.5, "Speaker": 0, "Content": 'She said "no {thing}", twice.'},
        {"Start": 1.5, "End": 3, "Speaker": 1, "Content": "a },{ b [c] \\ ünï 你好 😀"},
        {"Start": 3, "End": 4, "Content": "[Music]"},
        {"Start": 4, "End": 5, "Speaker": 0, "Content": "end }]"},
    ]
)
TRICKY_SEGMENTS = [
    Segment(0.0, 1.5, "A", 'She said "no {thing}", twice.'),
    Segment(1.5, 3.0, "B", "a },{ b [c] \\ ünï 你好 😀"),
    Segment(3.0, 4.0, None, "[Music]"),
    Segment(4.0, 5.0, "A", "end }]"),
]


@pytest.mark.parametrize("step", range(1, len(TRICKY) + 1))
def test_any_split_gives_the_same_segments(step: int) -> None:
    """The segments do not depend on where the text is split."""
    assert decode(TRICKY, step) == TRICKY_SEGMENTS


def test_a_segment_comes_as_soon_as_it_is_whole() -> None:
    """A segment is returned at its closing brace, before the next one begins."""
    decoder = TranscriptDecoder(DURATION)
    assert decoder.feed('[{"Start":0,"End":1,"Speaker":0,"Content":"one"') == []
    assert decoder.feed("}") == [Segment(0.0, 1.0, "A", "one")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("[]", [], id="empty array"),
        pytest.param("", [], id="nothing"),
        pytest.param("assistant\n", [], id="only the prefix"),
        pytest.param("[", [], id="only the bracket"),
        pytest.param(
            ' \n[ {"Start":0,"End":1,"Content":"x"} ]', [Segment(0, 1, None, "x")], id="spaces"
        ),
        pytest.param(
            '{"Start":0,"End":1,"Content":"x"}', [Segment(0, 1, None, "x")], id="no array"
        ),
        pytest.param(
            '[{"Start time":1,"End time":2,"Speaker ID":3,"Content":"x"}]',
            [Segment(1, 2, "A", "x")],
            id="keys of the prompt",
        ),
        pytest.param(
            '[{"start_time":1,"end_time":"2.5","speaker_id":"Speaker 3","text":"x"}]',
            [Segment(1, 2.5, "A", "x")],
            id="keys of the processor",
        ),
        pytest.param(
            '[{"Start":0,"End":1,"Speaker":"N/A","Content":"[Noise]"}]',
            [Segment(0, 1, None, "[Noise]")],
            id="speaker N/A",
        ),
        pytest.param('[{"Start":0,"End":9,"Content":"[Silence]"}]', [], id="silence"),
        pytest.param('[{"Start":0,"End":9,"Speaker":0}]', [], id="no content"),
        pytest.param('[{"Start":0,"End":9,"Content":null}]', [], id="null content"),
        pytest.param('[{"Content":"x"}]', [Segment(0, 0, None, "x")], id="no times"),
        pytest.param(
            '[{"Start":1,"End":2,"Content":"x"},{"Start":NaN,"End":"?","Content":"y"}]',
            [Segment(1, 2, None, "x"), Segment(2, 2, None, "y")],
            id="unreadable times follow the last segment",
        ),
        pytest.param(
            '[{"Start":-1,"End":1e9,"Content":"x"}]',
            [Segment(0, 100, None, "x")],
            id="times outside the recording",
        ),
        pytest.param(
            '[{"Start":5,"End":4,"Content":"x"}]', [Segment(5, 5, None, "x")], id="end first"
        ),
        pytest.param(
            '[{"Start":0,"End":1,"Content":"x"},{"Start":1,"End":2,"Speaker":0,"Content":"y z',
            [Segment(0, 1, None, "x"), Segment(1, 2, "A", "y z")],
            id="cut off in the content",
        ),
        pytest.param(
            '[{"Start":0,"End":1,"Content":"x"},{"Start":1,"En',
            [Segment(0, 1, None, "x")],
            id="cut off before the content",
        ),
        pytest.param(
            '[{"Start":0,"End":1,"Content":"tab\\', [Segment(0, 1, None, "tab")], id="cut escape"
        ),
        pytest.param(
            '[{"Start":0,"End":1,"Speaker":0,"Content":"he said "hi" ok"},'
            '{"Start":1,"End":2,"Speaker":1,"Content":"y"}]',
            [Segment(0, 1, "A", 'he said "hi" ok'), Segment(1, 2, "B", "y")],
            id="unescaped quotes",
        ),
        pytest.param(
            '[{"Start":0,"End":1,"Speaker":0,"Content":"he said "hi""}]',
            [Segment(0, 1, "A", 'he said "hi"')],
            id="unescaped quotes at the end",
        ),
        pytest.param(
            '[{"Start":0,"End":1,"Content":"two\nlines"}]',
            [Segment(0, 1, None, "two\nlines")],
            id="raw newline",
        ),
        pytest.param(
            '[{"Start":0,"End":1,"Content":"x","Words":[{"w":1}]}]',
            [Segment(0, 1, None, "x")],
            id="nested objects",
        ),
        pytest.param(
            '[{"Start":0,"End":1,"Content":"x"}] [{"Start":0,"End":1,"Content":"again"}]',
            [Segment(0, 1, None, "x")],
            id="text after the array",
        ),
        pytest.param(
            '[{"Start":0,"End":1,"Content":"bad \\ud800"}]',
            [Segment(0, 1, None, "bad ?")],
            id="half of a surrogate pair",
        ),
        pytest.param("Just words.", [Segment(0, 100, None, "Just words.")], id="plain text"),
        pytest.param(
            "[Music] and words", [Segment(0, 100, None, "[Music] and words")], id="plain bracket"
        ),
        pytest.param("a", [Segment(0, 100, None, "a")], id="plain text like the prefix"),
        pytest.param(
            "assistant\nhi", [Segment(0, 100, None, "hi")], id="plain text after the prefix"
        ),
    ],
)
@pytest.mark.parametrize("step", [1, 10_000])
def test_slips_of_the_model_lose_nothing(text: str, expected: list[Segment], step: int) -> None:
    """Every mistake seen in the model's output is parsed into the intended segments."""
    assert decode(text, step) == expected


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        pytest.param("[]", True, id="empty array"),
        pytest.param('[{"Start":0,"End":1,"Content":"x"}]', True, id="array"),
        pytest.param("words", True, id="plain"),
        pytest.param("", False, id="nothing"),
        pytest.param("[", False, id="bracket"),
        pytest.param('[{"Start":0,"End":1,"Content":"x"}', False, id="unclosed"),
    ],
)
def test_complete_tells_a_whole_answer_from_a_cut_one(text: str, complete: bool) -> None:
    """An empty array is a complete answer; no text at all is not."""
    decoder = TranscriptDecoder(DURATION)
    decoder.feed(text)
    decoder.finish()
    assert decoder.complete is complete


def test_speakers_are_labelled_in_order_of_appearance() -> None:
    """Labels are A to Z, then AA, whatever numbers the model uses."""
    items = [{"Start": i, "End": i, "Speaker": 90 - i % 28, "Content": "x"} for i in range(29)]
    labels = [segment.speaker for segment in decode(json.dumps(items))]
    assert labels[:2] == ["A", "B"]
    assert labels[25:] == ["Z", "AA", "AB", "A"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        pytest.param(["Hi.", "Ho."], "Hi. Ho.", id="English"),
        pytest.param(["你好。", "再见。"], "你好。再见。", id="Chinese"),
        pytest.param(["안녕", "잘 가"], "안녕 잘 가", id="Korean"),
        pytest.param(["Hi.", "[Music]", "Ho."], "Hi. Ho.", id="noises are not said"),
        pytest.param([], "", id="nothing"),
    ],
)
def test_text_is_what_was_said(words: list[str], text: str) -> None:
    """Spoken segments are joined according to their writing system."""
    assert join_speech([Segment(0, 1, None, word) for word in words]) == text
