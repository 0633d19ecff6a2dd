"""The proxy with another server that has OpenAI's transcription API: `ASR_API=transcriptions`."""

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import soundfile
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from tests.support.fakes import TRANSCRIPTIONS, serve
from tests.support.recordings import tone, wav

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings

SAMPLE = Path(__file__).parents[2] / "samples" / "one-speaker.wav"
VERBOSE: dict[str, Any] = {
    "task": "transcribe",
    "language": "german",
    "duration": 2.0,
    "text": " Guten Tag. Hallo.",
    "segments": [
        {"id": 0, "start": 0.0, "end": 1.25, "text": " Guten Tag.", "tokens": [1, 2]},
        {"id": 1, "start": 1.25, "end": 9.0, "text": " Hallo.", "tokens": []},
        {"id": 2, "start": 9.0, "end": 9.5, "text": " ", "tokens": []},
    ],
}


@dataclass
class WhisperLike:
    """A Whisper-like server on a real socket, with its configured responses and recorded
    requests."""

    answer: Any = field(default_factory=lambda: VERBOSE)
    status: int = 200
    health: int = 200
    knows_verbose: bool = True
    seconds: float = 0.0
    forms: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    audio: list[tuple[str, int, int, int]] = field(default_factory=list)
    """(file name, samples, rate, channels)"""

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route(TRANSCRIPTIONS, self._transcribe, methods=["POST"]),
            ]
        )

    async def _health(self, _: Request) -> Response:
        return PlainTextResponse("", self.health)

    async def _transcribe(self, request: Request) -> Response:
        async with request.form() as form:
            file = form["file"]
            assert not isinstance(file, str)
            with soundfile.SoundFile(io.BytesIO(await file.read())) as audio:
                shape = (file.filename or "", audio.frames, audio.samplerate, audio.channels)
            self.audio.append(shape)
            self.forms.append({k: v for k, v in form.items() if isinstance(v, str)})
        self.headers.append(dict(request.headers))
        if self.status != 200:
            return JSONResponse({"error": {"message": "boom /secret/path"}}, self.status)
        await asyncio.sleep(self.seconds)
        if self.forms[-1]["response_format"] == "verbose_json" and not self.knows_verbose:
            return JSONResponse({"error": {"message": "no verbose_json"}}, 400)
        if self.forms[-1]["response_format"] == "json":
            return JSONResponse({"text": self.answer["text"]})
        return JSONResponse(self.answer)


Start = Callable[..., httpx2.Client]


@pytest.fixture
def server() -> WhisperLike:
    return WhisperLike()


@pytest.fixture
def start(server: WhisperLike) -> Iterator[Start]:
    """Start a proxy for `server` with the given settings; returns a client for it."""
    with ExitStack() as parts:
        url = parts.enter_context(serve(server.app()))

        def client(**settings: Any) -> httpx2.Client:
            defaults: dict[str, Any] = {
                "asr_base_url": url,
                "asr_api": "transcriptions",
                "tts_model_type": "off",
            }
            app = create_app(Settings(**(defaults | settings)))
            return parts.enter_context(
                httpx2.Client(base_url=parts.enter_context(serve(app)), timeout=30)
            )

        yield client


def post(http: httpx2.Client, **fields: Any) -> httpx2.Response:
    """A transcription of two seconds."""
    return http.post(TRANSCRIPTIONS, files={"file": wav(tone(2.0))}, data=fields)


def test_the_server_gets_what_the_client_said(server: WhisperLike, start: Start) -> None:
    """The server gets the configured model, the client's prompt and language, the audio in one
    format, and the key."""
    http = start(served_model_name="small", asr_api_key="geheim")
    answer = post(http, prompt="VibeVoice", language="de", model="whisper-1", temperature="0.4")
    assert answer.status_code == 200, answer.text
    assert server.forms == [
        {
            "model": "small",
            "prompt": "VibeVoice",
            "language": "de",
            "response_format": "verbose_json",
        }
    ]
    assert server.audio == [("audio.wav", 48_000, 24_000, 1)]
    assert server.headers[0]["authorization"] == "Bearer geheim"
    assert server.headers[0]["x-request-id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("languages", "sent"),
    [pytest.param("de", "de", id="one"), pytest.param("fr,de", None, id="several")],
)
def test_a_language_is_sent_if_only_one_is_possible(
    server: WhisperLike, start: Start, languages: str, sent: str | None
) -> None:
    """Otherwise the server would have to use the wrong one for a part of the recordings."""
    assert post(start(), languages=languages).status_code == 200
    assert server.forms[0].get("language") == sent


@pytest.mark.parametrize(
    ("response_format", "expected"),
    [
        pytest.param("text", "Guten Tag. Hallo.\n", id="text"),
        pytest.param(
            "srt",
            "1\n00:00:00,000 --> 00:00:01,250\nGuten Tag.\n\n"
            "2\n00:00:01,250 --> 00:00:02,000\nHallo.\n",
            id="srt",
        ),
        pytest.param(
            "vtt",
            "WEBVTT\n\n00:00:00.000 --> 00:00:01.250\nGuten Tag.\n\n"
            "00:00:01.250 --> 00:00:02.000\nHallo.\n",
            id="vtt",
        ),
    ],
)
def test_plain_formats_have_times_inside_the_recording(
    start: Start, response_format: str, expected: str
) -> None:
    """The server's segments, without empty ones and with no end after that of the recording."""
    assert post(start(), response_format=response_format).text == expected


def test_no_speakers_are_invented(start: Start) -> None:
    """Without speakers from the server, the speaker is `unknown` where OpenAI's type requires a
    name."""
    http = start()
    diarized = post(http, response_format="diarized_json").json()
    assert [segment["speaker"] for segment in diarized["segments"]] == ["unknown", "unknown"]
    assert diarized["text"] == "Guten Tag.\nHallo."
    verbose = post(http, response_format="verbose_json").json()
    assert [segment["speaker"] for segment in verbose["segments"]] == [None, None]


def test_speakers_that_the_server_names_are_kept(server: WhisperLike, start: Start) -> None:
    """Speakers in the server's segments are used, as short names on one line."""
    segment = {"start": 0, "end": 1, "text": "Hallo.", "speaker": "SPEAKER_01"}
    server.answer = VERBOSE | {"segments": [segment]}
    diarized = post(start(), response_format="diarized_json").json()
    assert [segment["speaker"] for segment in diarized["segments"]] == ["SPEAKER_01"]
    segment["speaker"] = "Ann\n\n1\n" + "x" * 1000
    diarized = post(start(), response_format="diarized_json").json()
    assert [segment["speaker"] for segment in diarized["segments"]] == ["Ann 1 " + "x" * 94]


def test_parts_that_the_server_marked_stay_marked(server: WhisperLike, start: Start) -> None:
    """A server of this project marks missing parts; unknown reasons do not get into headers."""
    server.answer = VERBOSE | {
        "truncated": "loop,odd",
        "missing": [
            {"start": 1.25, "end": 1.5, "reason": "loop"},
            {"start": 1.75, "end": 36.0, "reason": "odd\r\nx: y"},
            {"start": 9.0, "end": 36.0, "reason": "length"},
        ],
    }
    answer = post(start(), response_format="diarized_json")
    assert answer.json()["missing"] == [
        {"start": 1.25, "end": 1.5, "reason": "loop"},
        {"start": 1.75, "end": 2.0, "reason": "upstream_error"},
    ]
    marks = answer.headers["x-vibevoice-missing"]
    assert marks == "1.250-1.500 loop, 1.750-2.000 upstream_error"


def test_marks_in_any_order_are_joined(server: WhisperLike, start: Start) -> None:
    """No part ends before it begins, or before a part inside it."""
    times = [(1.0, 1.25), (0.0, 0.75), (0.25, 0.5)]
    marks = [{"start": start, "end": end, "reason": "loop"} for start, end in times]
    server.answer = VERBOSE | {"missing": marks}
    answer = post(start(), response_format="diarized_json")
    assert answer.headers["x-vibevoice-missing"] == "0.000-0.750 loop, 1.000-1.250 loop"


@pytest.mark.parametrize("value", [None, "no", 3, [{"words": 2}]])
def test_a_field_with_another_meaning_is_ignored(
    value: object, server: WhisperLike, start: Start
) -> None:
    """`missing` is not a field of OpenAI's API."""
    server.answer = VERBOSE | {"missing": value}
    answer = post(start(), response_format="diarized_json")
    assert (answer.status_code, answer.json()["text"]) == (200, "Guten Tag.\nHallo.")
    assert "missing" not in answer.json()


def test_the_language_is_what_the_server_found(start: Start) -> None:
    """Unlike VibeVoice-ASR, the server returns a language; usage is by time, since it does not
    count tokens."""
    http = start()
    verbose = post(http, response_format="verbose_json").json()
    assert (verbose["language"], verbose["duration"]) == ("german", 2.0)
    assert post(http).json() == {
        "text": "Guten Tag. Hallo.",
        "usage": {"type": "duration", "seconds": 2},
    }


def test_a_server_without_verbose_json_is_asked_for_json(server: WhisperLike, start: Start) -> None:
    """The server's text becomes one segment as long as the recording; the next request uses json
    directly."""
    server.knows_verbose = False
    http = start()
    expected = "1\n00:00:00,000 --> 00:00:02,000\nGuten Tag. Hallo.\n"
    assert post(http, response_format="srt").text == expected
    assert post(http, response_format="srt").text == expected
    assert [form["response_format"] for form in server.forms] == ["verbose_json", "json", "json"]


def test_a_server_that_knows_verbose_json_is_asked_once(server: WhisperLike, start: Start) -> None:
    """Once the server has returned segments, a 4xx is attributed to the recording."""
    http = start()
    assert post(http).status_code == 200
    server.status = 400
    assert post(http).status_code == 400
    assert [form["response_format"] for form in server.forms] == ["verbose_json", "verbose_json"]


def test_the_official_client_streams_its_segments(start: Start) -> None:
    """Segments arrive together at the end; the events are the same as usual."""
    with openai.OpenAI(base_url=f"{start().base_url}/v1", api_key="none") as client:
        stream = client.audio.transcriptions.create(
            model="whisper-1", file=wav(tone(2.0)), response_format="diarized_json", stream=True
        )
        events = list(stream)
    assert events[-1].type == "transcript.text.done"
    assert events[-1].usage is None  # the server counts no tokens
    assert [event.type for event in events] == [
        *("transcript.text.delta", "transcript.text.segment") * 2,
        "transcript.text.done",
    ]


def test_sections_of_a_long_recording_are_joined(server: WhisperLike, start: Start) -> None:
    """A recording that exceeds the maximum section length is cut, and times continue."""
    server.answer = VERBOSE | {"segments": [{"start": 0.0, "end": 0.5, "text": "Hallo."}]}
    http = start(max_section_seconds=4, section_concurrency=1)
    answer = http.post(
        TRANSCRIPTIONS,
        files={"file": wav(tone(6.0))},
        data={"response_format": "verbose_json"},
    )
    starts = [segment["start"] for segment in answer.json()["segments"]]
    first = server.audio[0][1] / 24_000
    assert starts == pytest.approx([0.0, first], abs=0.001)
    assert 3 <= first <= 4


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        pytest.param({"status": 400}, 400, "refused_by_engine", id="refused"),
        pytest.param({"status": 413}, 400, "refused_by_engine", id="too-large"),
        pytest.param({"status": 401}, 502, "upstream_error", id="wrong-key"),
        pytest.param({"status": 500}, 502, "upstream_error", id="failed"),
        pytest.param({"status": 503}, 503, "upstream_unavailable", id="loading"),
        pytest.param({"answer": ["no", "object"]}, 502, "upstream_error", id="no-object"),
        pytest.param({"answer": {"segments": []}}, 502, "upstream_error", id="no-text"),
        pytest.param({"seconds": 20}, 504, "upstream_timeout", id="slow"),
    ],
)
def test_faults_are_told_apart(
    server: WhisperLike, start: Start, fault: dict[str, Any], status: int, code: str
) -> None:
    """Statuses are the same as with the engine, with our own messages."""
    vars(server).update(fault)
    answer = post(start(transcription_timeout=1 if "seconds" in fault else 60))
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "/secret" not in answer.text


def test_times_that_are_no_numbers_are_not_passed_on(server: WhisperLike, start: Start) -> None:
    """Non-finite numbers would not be valid JSON."""
    segment = {"start": "inf", "end": 2, "text": "Hallo."}
    server.answer = VERBOSE | {"segments": [segment]}
    assert post(start()).status_code == 502


@pytest.mark.parametrize(
    ("health", "status"),
    [
        pytest.param(200, 200, id="healthy"),
        pytest.param(404, 200, id="without-a-health-route"),
        pytest.param(503, 503, id="loading"),
    ],
)
def test_health_is_the_servers(server: WhisperLike, start: Start, health: int, status: int) -> None:
    """A server without /health is healthy if it responds."""
    server.health = health
    assert start().get("/health").status_code == status


def test_a_server_without_an_engine_says_so(start: Start) -> None:
    """With `ASR_API=off`, recordings are rejected, the model is not listed, and health is 200."""
    http = start(asr_api="off", asr_base_url="http://127.0.0.1:9")
    answer = post(http)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert "ASR_API" in answer.json()["error"]["message"]
    assert http.get("/v1/models").json()["data"] == []
    assert http.get("/health").status_code == 200


@pytest.mark.engine
def test_vllms_own_route_is_such_a_server(engine_url: str, start: Start) -> None:
    """vLLM's /v1/audio/transcriptions with our plugin, through the proxy."""
    http = start(asr_base_url=engine_url)
    with SAMPLE.open("rb") as file:
        answer = http.post(TRANSCRIPTIONS, files={"file": file}, timeout=300)
    segments = json.loads(SAMPLE.with_suffix(".json").read_text())["segments"]
    assert answer.json()["text"] == " ".join(segment["text"] for segment in segments)
