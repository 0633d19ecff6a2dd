"""A failed section of a long recording affects only that section, and the response reports it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine, StartProxy, serve
from tests.support.metrics import samples
from tests.support.recordings import wav

from vibevoice_proxy.app import create_app
from vibevoice_proxy.http_protocol import HttpProtocol
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.transcription.formats import truncation_headers
from vibevoice_proxy.transcription.section_attempts import Continuation
from vibevoice_proxy.transcription.transcript import Missing, Segment, Transcript

pytest_plugins = ("tests.support.proxy_fixtures",)

RATE = 24_000
SECTIONS = ("3.50", "3.40", "3.10")
"""Length of each section in seconds, as stated to the engine."""
FIRST, SECOND = 3.5, 6.9
"""Seconds at which the first two sections end."""
FORMATS = ("json", "text", "srt", "vtt", "verbose_json", "diarized_json")
FIRST_SEGMENT = 9
"""Number of deltas from the fake engine that contain its first segment."""
PLAIN = "I cannot transcribe this."


def noise() -> NDArray[np.int16]:
    """Ten seconds of noise, quiet around the two section boundaries."""
    loud = np.random.default_rng(0).integers(-9000, 9000, 10 * RATE)
    for pause in (FIRST, SECOND):
        loud[round((pause - 0.15) * RATE) : round((pause + 0.15) * RATE)] = 0
    return loud.astype(np.int16)


LONG = wav(noise())


@pytest.fixture
def url(start_proxy: StartProxy) -> str:
    """A proxy that cuts the recording into three sections."""
    return start_proxy(speaker_linking=False, max_section_seconds=4)


def transcribe(url: str, **fields: str) -> httpx2.Response:
    files = {"file": ("a", LONG)}
    return httpx2.post(url + TRANSCRIPTIONS, data=fields, files=files, timeout=60)


def in_second(text: str) -> bool:
    """Whether a request is about the second section."""
    return f"{SECTIONS[1]} seconds" in text


def error(engine: FakeEngine) -> None:
    engine.fail_if = in_second


def timeout(engine: FakeEngine) -> None:
    engine.stall_after, engine.stall_if = 0, in_second


def no_transcript(engine: FakeEngine) -> None:
    engine.text_for = lambda text: "" if in_second(text) else None


@pytest.mark.parametrize(
    ("fault", "reason", "response_format"),
    [
        *((error, "upstream_error", name) for name in FORMATS),
        *((timeout, "upstream_timeout", name) for name in ("text", "verbose_json")),
        *((no_transcript, "no_transcript", name) for name in ("srt", "diarized_json")),
    ],
)
def test_the_other_sections_are_answered_and_the_missing_one_is_marked(
    response_format: str,
    fault: Callable[[FakeEngine], None],
    reason: str,
    start_proxy: StartProxy,
    fake_engine: FakeEngine,
) -> None:
    """Every format returns 200; headers and detailed JSON have the missing seconds and the
    reason."""
    fault(fake_engine)
    limit = {"upstream_read_timeout": 3} if fault is timeout else {}
    url = start_proxy(speaker_linking=False, max_section_seconds=4, **limit)
    answer = transcribe(url, response_format=response_format)
    fake_engine.release.set()
    assert answer.status_code == 200
    assert answer.text.count("Good morning.") in (2, 4)  # `text` next to the segments has it too
    assert answer.headers["x-vibevoice-truncated"] == reason
    start, end = (
        float(time) for time in answer.headers["x-vibevoice-missing"].split()[0].split("-")
    )
    assert (start, end) == pytest.approx((FIRST, SECOND), abs=0.2)
    assert answer.headers["x-vibevoice-missing"].endswith(f" {reason}")
    if response_format in ("verbose_json", "diarized_json"):
        body = answer.json()
        assert body["missing"] == [{"start": start, "end": end, "reason": reason}]
        assert body["truncated"] == reason
        assert body["duration"] == 10.0
        assert [s["speaker"] for s in body["segments"]] == ["A1", "B1", "A3", "B3"]


def test_a_stream_goes_on_and_ends_with_the_mark(url: str, fake_engine: FakeEngine) -> None:
    """The stream has the events of the other sections, and the missing part in the last event."""
    error(fake_engine)
    answer = transcribe(url, response_format="diarized_json", stream="true")
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:5] == "data:"]
    assert [e["speaker"] for e in events if "speaker" in e] == ["A1", "B1", "A3", "B3"]
    assert events[-1]["type"] == "transcript.text.done"
    assert [part["reason"] for part in events[-1]["missing"]] == ["upstream_error"]


def test_what_a_section_gave_before_it_failed_is_kept(url: str, fake_engine: FakeEngine) -> None:
    """The second attempt only adds new segments, here none; only the rest is missing."""
    fake_engine.cut_after, fake_engine.cut_if = FIRST_SEGMENT, in_second
    answer = transcribe(url, response_format="diarized_json").json()
    assert [s["speaker"] for s in answer["segments"]] == ["A1", "B1", "A2", "A3", "B3"]
    (part,) = answer["missing"]
    assert (part["start"], part["end"]) == pytest.approx((FIRST + 1.5, SECOND), abs=0.2)


@pytest.mark.parametrize("stream", ["false", "true"])
@pytest.mark.parametrize(("end", "seconds"), [("3.3", 0.0), ("2.9", 0.5)])
def test_a_section_that_fails_at_its_very_end(
    stream: str, end: str, seconds: float, url: str, fake_engine: FakeEngine
) -> None:
    """If its segments reach the end of the section, nothing is missing: there is no mark of no
    length."""
    text = f'[{{"Start":0.0,"End":{end},"Speaker":0,"Content":"Good morning."}},' + " " * 100
    fake_engine.text_for = lambda asked: text if in_second(asked) else None
    fake_engine.cut_after = len(text) // fake_engine.split - 1
    fake_engine.cut_if = in_second
    answer = transcribe(url, response_format="diarized_json", stream=stream)
    data = answer.text.splitlines()[-2][6:] if stream == "true" else answer.text
    missing = json.loads(data).get("missing", [])
    assert answer.text.count('"A2"') == 1
    lengths = [part["end"] - part["start"] for part in missing]
    assert lengths == ([pytest.approx(seconds, abs=0.11)] if seconds else [])


def test_a_section_is_tried_again(url: str, fake_engine: FakeEngine) -> None:
    """A temporary fault has no effect on the result."""
    failed: list[str] = []

    def fail_once(text: str) -> bool:
        if in_second(text) and not failed:
            failed.append(text)
            return True
        return False

    fake_engine.fail_if = fail_once
    answer = transcribe(url, response_format="diarized_json")
    assert "x-vibevoice-missing" not in answer.headers
    assert len(answer.json()["segments"]) == 6
    assert fake_engine.asked == 4


SWAPPED = (
    '[{"Start":0.0,"End":0.3,"Speaker":1,"Content":"Hm."},'
    '{"Start":0.3,"End":1.5,"Speaker":0,"Content":"Good morning."},'
    '{"Start":1.5,"End":2.5,"Speaker":1,"Content":"How are you?"},'
    '{"Start":2.5,"End":3.0,"Speaker":0,"Content":"Fine."},'
    '{"Start":3.0,"End":3.2,"Speaker":2,"Content":"Me too."}]'
)
"""Another transcript of the section: other boundaries, and the speakers' labels swapped."""


def answer_otherwise(engine: FakeEngine, first: str) -> None:
    """The connection breaks during the second section's text `first`; the next attempt gives
    SWAPPED."""
    texts = [first, SWAPPED]
    engine.text_for = lambda text: texts.pop(0) if in_second(text) else None
    engine.cut_after = len(first) // engine.split - 1
    engine.cut_if = lambda text: in_second(text) and len(texts) == 1


FIRST_ATTEMPT = (
    '[{"Start":0.0,"End":1.5,"Speaker":0,"Content":"Good morning."},'
    '{"Start":1.5,"End":END,"Speaker":1,"Content":"How"},'
    '{"Start":2.0,"End":2.3,"Speaker":1,"Content":"This is never complete."}'
)


def test_a_whole_answer_has_the_segments_of_one_attempt(url: str, fake_engine: FakeEngine) -> None:
    """A segment of the second attempt that is longer than that of the first is not lost, and labels
    of two attempts are not mixed."""
    answer_otherwise(fake_engine, FIRST_ATTEMPT.replace("END", "2.0"))
    answer = transcribe(url, response_format="diarized_json").json()
    second = [s for s in answer["segments"] if s["speaker"].endswith("2")]
    texts = ["Hm.", "Good morning.", "How are you?", "Fine.", "Me too."]
    assert [s["text"] for s in second] == texts
    assert [s["speaker"] for s in second] == ["A2", "B2", "A2", "B2", "C2"]
    assert "missing" not in answer


@pytest.mark.parametrize(
    ("end", "missing"),
    [
        pytest.param("2.5", [], id="the-same-boundary"),
        pytest.param("2.0", [(2.0, 2.5, "upstream_error")], id="another-boundary"),
    ],
)
def test_a_stream_is_continued_by_the_second_attempt(
    end: str, missing: list[tuple[float, float, str]], url: str, fake_engine: FakeEngine
) -> None:
    """Segments that were sent stay. New ones have the labels of the first attempt, and a part that
    is in neither is marked."""
    answer_otherwise(fake_engine, FIRST_ATTEMPT.replace("END", end))
    answer = transcribe(url, response_format="diarized_json", stream="true")
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:5] == "data:"]
    second = [e for e in events if e.get("speaker", "").endswith("2")]
    assert [e["text"] for e in second] == ["Good morning.", "How", "Fine.", "Me too."]
    assert [e["speaker"] for e in second] == ["A2", "B2", "A2", "C2"]
    found = [(m["start"] - FIRST, m["end"] - FIRST) for m in events[-1].get("missing", ())]
    assert found == [pytest.approx(part[:2], abs=0.2) for part in missing]
    assert events[-1].get("truncated") == (missing[0][2] if missing else None)


def test_a_second_attempt_misses_nothing_that_was_sent() -> None:
    """Its marks count from the end of the sent segments, in order of time."""
    continuation = Continuation([Segment(0.0, 4.0, "A", "One.")], "upstream_error")
    assert continuation.add(Segment(3.0, 4.5, "A", "One. Two.")) is None
    assert continuation.lacking([Missing(3.5, 4.6, "loop")]) == continuation.missing
    found = [Missing(0.0, 3.0, "loop"), Missing(3.5, 6.0, "loop"), Missing(8.0, 9.0, "length")]
    assert continuation.lacking(found) == (
        Missing(4.0, 4.5, "upstream_error"),
        Missing(4.5, 6.0, "loop"),
        Missing(8.0, 9.0, "length"),
    )


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        pytest.param({"fail_if": lambda _: True}, 502, "upstream_error", id="errors"),
        pytest.param({"status": 503}, 503, "upstream_unavailable", id="busy"),
        pytest.param({"status": 400}, 400, "refused_by_engine", id="refused"),
        pytest.param({"text": ""}, 502, "no_transcript", id="no-transcript"),
    ],
)
def test_when_nothing_comes_out_the_request_fails(
    change: dict[str, Any], status: int, code: str, url: str, fake_engine: FakeEngine
) -> None:
    """The response has the status and code of the first error."""
    vars(fake_engine).update(change)
    answer = transcribe(url)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("limit", [4, 60], ids=["a-section-of-several", "the-only-section"])
def test_text_that_is_not_the_models_format_is_marked(
    limit: int, start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """The section is requested once more; if the answer is plain text again, it is returned with a
    mark."""
    fake_engine.text_for = lambda text: (
        PLAIN if in_second(text) or "10.00 seconds" in text else None
    )
    answer = transcribe(start_proxy(max_section_seconds=limit), response_format="diarized_json")
    assert answer.status_code == 200
    assert PLAIN in answer.json()["text"]
    assert answer.headers["x-vibevoice-truncated"] == "format"
    assert [part["reason"] for part in answer.json()["missing"]] == ["format"]
    assert fake_engine.asked == (4 if limit == 4 else 2)


@pytest.mark.parametrize(
    ("response_format", "limit"), [*((name, 60) for name in FORMATS), ("diarized_json", 4)]
)
def test_the_end_of_a_file_that_was_cut_off_is_marked(
    response_format: str, limit: int, start_proxy: StartProxy
) -> None:
    """What is there is transcribed, and the response says how much the file's header declares."""
    url = start_proxy(speaker_linking=False, max_section_seconds=limit)
    whole = wav(noise(), format="FLAC")
    answer = httpx2.post(
        url + TRANSCRIPTIONS,
        data={"response_format": response_format},
        files={"file": ("a", whole[: len(whole) // 2])},
        timeout=60,
    )
    assert answer.status_code == 200
    assert "Good morning." in answer.text
    assert answer.headers["x-vibevoice-truncated"] == "incomplete_file"
    times, reason = answer.headers["x-vibevoice-missing"].split()
    start, end = map(float, times.split("-"))
    assert (start, end, reason) == (pytest.approx(5, abs=0.2), 10, "incomplete_file")
    if response_format in ("verbose_json", "diarized_json"):
        body = answer.json()
        assert body["missing"] == [{"start": start, "end": end, "reason": "incomplete_file"}]
        assert body["duration"] == pytest.approx(start, abs=0.001)
    with httpx2.Client(base_url=url) as http:
        seconds = samples(http)[("vibevoice_missing_seconds_total", "incomplete_file")]
    assert seconds == pytest.approx(end - start)


def test_silence_that_was_cut_off_is_marked(url: str) -> None:
    """Without any segments, the response is still a transcript."""
    whole = wav(np.zeros(10 * RATE, np.int16))
    files = {"file": ("a", whole[: len(whole) // 2])}
    answer = httpx2.post(url + TRANSCRIPTIONS, files=files, timeout=60)
    assert (answer.status_code, answer.json()["text"]) == (200, "")
    assert answer.headers["x-vibevoice-truncated"] == "incomplete_file"


def test_missing_seconds_are_counted(url: str, fake_engine: FakeEngine) -> None:
    """The metrics count missing seconds by reason."""
    error(fake_engine)
    transcribe(url)
    with httpx2.Client(base_url=url, timeout=60) as http:
        seconds = samples(http)[("vibevoice_missing_seconds_total", "upstream_error")]
    assert seconds == pytest.approx(SECOND - FIRST, abs=0.2)


def test_many_missing_parts_fit_into_a_header() -> None:
    """The header names twenty of them, and how many more there are."""
    parts = tuple(Missing(2.0 * n, 2.0 * n + 1, "upstream_timeout") for n in range(100))
    found = truncation_headers(Transcript((), 200.0, missing=parts))
    assert found["x-vibevoice-truncated"] == "upstream_timeout"
    assert found["x-vibevoice-missing"].count("upstream_timeout") == 20
    assert found["x-vibevoice-missing"].endswith(", 80 more")
    assert truncation_headers(Transcript((), 200.0)) == {}


class Relay:
    """Forwards requests to the real engine, except that it drops the connection for one section."""

    def __init__(self, engine: str, broken: Callable[[bytes], bool]) -> None:
        self._engine = engine
        self._broken = broken
        self.refused = 0

    def app(self) -> ASGIApp:
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
            ]
        )

    async def _health(self, _: Request) -> Response:
        return Response()

    async def _chat(self, request: Request) -> Response:
        body = await request.body()
        if self._broken(body):
            self.refused += 1
            return Response(status_code=500)
        async with httpx2.AsyncClient(timeout=300) as client:
            answer = await client.post(
                f"{self._engine}/v1/chat/completions",
                content=body,
                headers={"content-type": "application/json"},
            )
        return Response(answer.content, answer.status_code, media_type="text/event-stream")


@pytest.mark.engine
def test_the_real_engine_loses_only_the_section_that_fails(engine_url: str) -> None:
    """Three samples of 8 s, cut between them; the engine never sees the middle one."""
    folder = Path(__file__).parents[2] / "samples"
    names = ("two-speakers", "one-speaker", "three-speakers")
    audio = np.zeros((len(names), 8 * RATE), np.float32)
    for row, name in zip(audio, names, strict=True):
        samples, _ = soundfile.read(folder / f"{name}.wav", dtype="float32")
        row[: len(samples)] = samples
    durations: list[str] = []

    def middle(body: bytes) -> bool:
        found = re.search(rb"This is a ([\d.]+) seconds", body)
        assert found
        if found[1].decode() not in durations:
            durations.append(found[1].decode())
        return durations.index(found[1].decode()) == 1

    relay = Relay(engine_url, middle)
    with serve(relay.app()) as url:
        settings = Settings(
            asr_base_url=url,
            tts_model_type="off",
            max_section_seconds=9,
            section_concurrency=1,
        )
        with serve(create_app(settings), protocol=HttpProtocol) as proxy:
            files = {"file": ("a", wav(audio.reshape(-1)))}
            for response_format in FORMATS:
                durations.clear()
                answer = httpx2.post(
                    proxy + TRANSCRIPTIONS,
                    data={"response_format": response_format},
                    files=files,
                    timeout=300,
                )
                assert answer.status_code == 200
                assert answer.headers["x-vibevoice-missing"].endswith(" upstream_error")
                assert "eight four seven nine two" in " ".join(answer.text.split())
                assert "nine nine" in " ".join(answer.text.split())
    assert relay.refused == 2 * len(FORMATS)
