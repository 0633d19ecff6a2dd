"""Loops are distinguished from people who repeat themselves, and the model recovers from them."""

import json
from typing import Any

import httpx2
import pytest
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine
from tests.support.recordings import tone, wav

from vibevoice_proxy.transcription.loops import LoopWatch, is_loop
from vibevoice_proxy.transcription.transcript import Segment

pytest_plugins = ("tests.support.proxy_fixtures",)

RECORDING = wav(tone(8.0))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("the " * 60, 3.0, id="one word"),
        pytest.param("I see. " * 200, None, id="no times"),
        pytest.param("I see. " * 200, 300.0, id="at any speed"),
        pytest.param("Well, " + "and so we went on with it and " * 9, 2.0, id="a long phrase"),
        pytest.param("谢谢" * 100, 4.0, id="Chinese"),
        pytest.param("ha" * 100, 2.0, id="no spaces"),
        pytest.param("a" * 100, 1.0, id="one letter"),
        pytest.param("The  the\nThe " * 30, 2.0, id="case and spaces"),
        pytest.param("so it was " + "seven " * 40 + "sev", 3.0, id="in the middle of a word"),
    ],
)
def test_a_loop_is_seen(text: str, seconds: float | None) -> None:
    """The repeated text is longer than anybody could have said in the time."""
    assert is_loop(text, seconds)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("seven " * 8, 2.5, id="a digit eight times"),
        pytest.param("seven " * 30, 12.0, id="a digit thirty times, in its time"),
        pytest.param("na " * 60, 12.0, id="a song"),
        pytest.param("no " * 12, 1.0, id="fast and short"),
        pytest.param("no no no", 0.0, id="no time at all"),
        pytest.param("ha " * 20, None, id="laughing, no times"),
        pytest.param("the quick brown fox jumps over the lazy dog " * 2, 1.0, id="said twice"),
        pytest.param(" ".join(map(str, range(400))), 2.0, id="too much, but nothing repeated"),
        pytest.param("", 0.0, id="nothing"),
        pytest.param("   ", None, id="space"),
    ],
)
def test_repetition_is_no_loop(text: str, seconds: float | None) -> None:
    """People repeat things, but that takes time."""
    assert not is_loop(text, seconds)


def watched(*segments: Segment) -> tuple[list[Segment], bool]:
    """The segments that the watch forwards, and whether it detects a loop."""
    watch = LoopWatch()
    passed = [passed for segment in segments for passed in watch.pass_on(segment)]
    return passed + watch.finish(), watch.is_looping


FIRST = Segment(0.0, 2.0, "A", "Good morning to you.")
SECOND = Segment(2.0, 4.0, "B", "And good morning to you too.")


@pytest.mark.parametrize(
    "repeated",
    [
        pytest.param([SECOND] * 20, id="one segment"),
        pytest.param([FIRST, SECOND] * 10, id="two in turn"),
        pytest.param(
            [Segment(4 + n / 100, 4.01 + n / 100, "B", SECOND.text) for n in range(20)],
            id="in tiny steps",
        ),
        pytest.param([Segment(20.0, 20.0, "B", SECOND.text)] * 20, id="at the recording's end"),
    ],
)
def test_segments_without_time_are_a_loop(repeated: list[Segment]) -> None:
    """If segments repeat without time advancing, only the first is forwarded."""
    passed, looping = watched(FIRST, SECOND, *repeated)
    assert looping
    assert passed[:2] == [FIRST, SECOND]
    assert len(passed) <= 3


@pytest.mark.parametrize(
    "segments",
    [
        pytest.param([Segment(n, n + 1.0, "A", "Seven.") for n in range(50)], id="in their time"),
        pytest.param([Segment(2.0, 2.5, s, "Yes.") for s in "ABCDE"], id="a choir"),
        pytest.param([FIRST, SECOND, SECOND, FIRST], id="said twice"),
        pytest.param(
            [FIRST, *[SECOND] * 5, Segment(4.0, 6.0, "A", "Then all was well.")],
            id="a stumble that ends",
        ),
    ],
)
def test_segments_that_come_again_pass(segments: list[Segment]) -> None:
    """Plausible repetitions are forwarded completely and in order."""
    assert watched(*segments) == (segments, False)


def answer(*segments: tuple[float, float, str], end: str = "]") -> str:
    """The model's text for (start, end, content), followed by `end` instead of the closing bracket
    if given."""
    objects = [
        f'{{"Start":{start},"End":{stop},"Speaker":0,"Content":"{text}"}}'
        for start, stop, text in segments
    ]
    return "[" + ",".join(objects) + end


WHOLE = answer((0, 2, "One."), (2, 4, "Two."), (4, 6, "Three."))
BEGINNING = answer((0, 2, "One."), (2, 4, "Two."), end="")
OPENING = ',{"Start":'
IN_A_SEGMENT = BEGINNING + ',{"Start":4,"End":6,"Speaker":0,"Content":"' + "and so on, " * 5000
OF_SEGMENTS = answer((0, 2, "One."), *[(2, 4, "Two.")] * 500, end="")


def transcribe(http: httpx2.Client, **fields: str) -> httpx2.Response:
    """A transcription of eight seconds."""
    return http.post(TRANSCRIPTIONS, data=fields, files={"file": ("a", RECORDING)})


def of_requests(engine: FakeEngine, key: str) -> list[Any]:
    """One value from each request that the engine received."""
    return [request.get(key) for request in engine.requests]


@pytest.mark.parametrize("loop", [IN_A_SEGMENT, OF_SEGMENTS], ids=["in a segment", "of segments"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_loop_is_left(
    loop: str, times: int, http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """The model continues after its last complete segment, with a higher temperature each time, and
    nothing is missing."""
    fake_engine.text = WHOLE
    rest = loop.removeprefix(BEGINNING + OPENING)
    fake_engine.answers = [(loop, "length"), *[(rest, "length")] * (times - 1)]
    response = transcribe(http, response_format="verbose_json")
    assert response.json()["text"] == "One. Two. Three."
    assert "x-vibevoice-truncated" not in response.headers
    temperatures = [0.0, 0.2, 0.4, 0.6][: times + 1]
    assert of_requests(fake_engine, "temperature") == temperatures
    asked = [headers.get("x-vibevoice-temperature") for headers in fake_engine.headers]
    assert asked == [None, *map(str, temperatures[1:])]
    last = fake_engine.requests[-1]
    assert last["messages"][-1] == {"role": "assistant", "content": BEGINNING + OPENING}
    assert (last["continue_final_message"], last["add_generation_prompt"]) == (True, False)


def test_a_loop_is_broken_off_at_once(http: httpx2.Client, fake_engine: FakeEngine) -> None:
    """The connection to the engine is closed as soon as a loop is detected."""
    fake_engine.text = WHOLE
    fake_engine.answers = [(IN_A_SEGMENT, "length")]
    fake_engine.stall_after = 1000 // fake_engine.split
    assert transcribe(http).json()["text"] == "One. Two. Three."
    assert fake_engine.closed.wait(60)


@pytest.mark.parametrize("loop", [IN_A_SEGMENT, OF_SEGMENTS], ids=["in a segment", "of segments"])
def test_a_loop_without_a_way_out_keeps_what_was_said(
    loop: str, http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """After three more attempts, the transcript ends with the last complete segment and is
    marked."""
    rest = loop.removeprefix(BEGINNING + OPENING)
    fake_engine.answers = [(loop, "length"), *[(rest, "length")] * 3]
    response = transcribe(http)
    assert (response.status_code, response.json()["text"]) == (200, "One. Two.")
    assert response.headers["x-vibevoice-truncated"] == "loop"
    assert len(fake_engine.requests) == 4


@pytest.mark.parametrize("response_format", ["verbose_json", "diarized_json"])
def test_the_marker_is_in_the_body_too(
    response_format: str, http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """Clients that cannot see headers find `truncated` next to the segments; complete responses
    lack it."""
    assert "truncated" not in transcribe(http, response_format=response_format).json()
    fake_engine.text = IN_A_SEGMENT
    body = transcribe(http, response_format=response_format).json()
    assert body["truncated"] == "loop"
    assert [segment["text"] for segment in body["segments"]] == ["One.", "Two."]


def test_the_marker_ends_the_stream(http: httpx2.Client, fake_engine: FakeEngine) -> None:
    """Streamed text is not retracted, and the last event says that it is incomplete."""
    fake_engine.text = IN_A_SEGMENT
    lines = transcribe(http, stream="true").text.splitlines()
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data")]
    assert [event.get("delta") for event in events] == ["One.", " Two.", None]
    assert (events[-1]["text"], events[-1]["truncated"]) == ("One. Two.", "loop")


def test_a_streamed_loop_leaves_no_trace(http: httpx2.Client, fake_engine: FakeEngine) -> None:
    """Segments of a loop are held back until it is over, so the client never sees them."""
    fake_engine.text = WHOLE
    fake_engine.answers = [(OF_SEGMENTS, "length")]
    lines = transcribe(http, stream="true").text.splitlines()
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data")]
    assert [event.get("delta") for event in events] == ["One.", " Two.", " Three.", None]


def test_a_loop_at_the_end_is_cut_off(http: httpx2.Client, fake_engine: FakeEngine) -> None:
    """If the words reach the end of the recording, a loop after them is dropped, and the model is
    not called again."""
    fake_engine.text = answer((0, 4, "One."), *[(4, 7.9, "Two.")] * 500, end="")
    response = transcribe(http)
    assert response.json()["text"] == "One. Two."
    assert "x-vibevoice-truncated" not in response.headers
    assert len(fake_engine.requests) == 1


def test_an_answer_out_of_tokens_is_continued(http: httpx2.Client, fake_engine: FakeEngine) -> None:
    """A token limit of the engine does not end the transcript."""
    fake_engine.text = WHOLE
    fake_engine.answers = [(WHOLE[:-20], "length")]
    response = transcribe(http)
    assert response.json()["text"] == "One. Two. Three."
    assert fake_engine.requests[1]["messages"][-1]["content"] == BEGINNING + OPENING
    assert "x-vibevoice-truncated" not in response.headers


def test_an_answer_that_stays_out_of_tokens_is_marked(
    http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """The transcript has the words so far, and the segment that was cut off is reported, even if
    its stated time reaches the end."""
    fake_engine.text = answer((0, 2, "One."), (2, 4, "Two."), (4, 8, "Three"), end="")[:-4]
    fake_engine.finish_reason = "length"
    response = transcribe(http)
    assert response.json()["text"] == "One. Two. Thr"
    assert response.headers["x-vibevoice-truncated"] == "length"
    assert response.headers["x-vibevoice-missing"] == "4.000-8.000 length"


def test_out_of_tokens_at_the_very_end_nothing_is_missing(
    http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """All segments are complete: only the closing bracket is missing."""
    fake_engine.text = answer((0, 4, "One."), (4, 7.9, "Two."), end="")
    fake_engine.finish_reason = "length"
    response = transcribe(http)
    assert response.json()["text"] == "One. Two."
    assert "x-vibevoice-truncated" not in response.headers


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(400, id="allows-no-warmth"),
        pytest.param(500, id="failed-meanwhile"),
        pytest.param(503, id="busy-meanwhile"),
    ],
)
def test_an_engine_that_cannot_go_on_ends_the_transcript(
    refusal: int, http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """If the engine does not continue, the words it has already written are kept."""
    fake_engine.answers = [(IN_A_SEGMENT, "length")]
    fake_engine.refuses_to_continue = True
    fake_engine.refusal = refusal
    response = transcribe(http)
    assert (response.status_code, response.json()["text"]) == (200, "One. Two.")
    assert response.headers["x-vibevoice-truncated"] == "loop"


def test_a_loop_from_the_start_is_an_error(http: httpx2.Client, fake_engine: FakeEngine) -> None:
    """If there is not a single segment, an empty transcript would be misleading."""
    fake_engine.text = '[{"Start":0,"End":2,"Speaker":0,"Content":"' + "and so on, " * 500
    response = transcribe(http)
    assert response.status_code == 502
    assert response.headers["x-should-retry"] == "false"
    assert of_requests(fake_engine, "continue_final_message") == [None] * 4


def test_tokens_of_all_attempts_are_counted(http: httpx2.Client, fake_engine: FakeEngine) -> None:
    """The prompt is counted once, and the output of every attempt is counted."""
    fake_engine.text = WHOLE
    fake_engine.answers = [(WHOLE[:-20], "length")]
    usage = transcribe(http).json()["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (100, 80)
