"""POST /v1/audio/transcriptions over a real socket: requests to the engine and responses."""

import json
import threading
from typing import Any

import httpx2
import numpy as np
import pytest
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine, StartProxy
from tests.support.open_files import open_files
from tests.support.processes import wait_for
from tests.support.recordings import encoded, tone, wav
from tests.support.uploads import start_upload

from vibevoice_core.prompt import SYSTEM
from vibevoice_proxy.settings import Settings

pytest_plugins = ("tests.support.proxy_fixtures",)

SPEECH = wav(tone(2.0))
KEYS = "Start time, End time, Speaker ID, Content"


def post(http: httpx2.Client, data: bytes = SPEECH, **fields: Any) -> httpx2.Response:
    """A transcription of `data`."""
    return http.post(TRANSCRIPTIONS, data=fields, files={"file": ("upload", data)})


def temporary_files() -> set[str]:
    """Unnamed files that this process (client, proxy and fake engine) has open."""
    return {path for path in open_files() if "(deleted)" in path}


def test_the_engine_is_asked_as_the_model_was_trained(
    http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """One chat completion with pinned decoding: system text, audio first, then the user text."""
    assert post(http, encoded("mp3", "libmp3lame", layout="stereo")).status_code == 200
    (request,) = fake_engine.requests
    ((samples, rate, channels),) = fake_engine.audio
    text = (
        f"This is a {samples / 24_000:.2f} seconds audio, "
        f"please transcribe it with these keys: {KEYS}"
    )
    assert request == {
        "model": "vibevoice",
        "messages": [
            {"role": "system", "content": SYSTEM},
            {
                "role": "user",
                "content": [
                    {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64"}},
                    {"type": "text", "text": text},
                ],
            },
        ],
        "max_tokens": 1024 + int(100 * samples / 24_000),
        "temperature": 0.0,
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.5,
        "presence_penalty": 0.0,
        "stream": True,
        "stream_interval": 8,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    assert (rate, channels) == (24_000, 1)
    assert samples == pytest.approx(48_000, abs=1500)


def test_penalties_can_be_switched_off(start_proxy: StartProxy, fake_engine: FakeEngine) -> None:
    """No penalties are sent to the engine; the temperature stays pinned."""
    with httpx2.Client(base_url=start_proxy(penalties="off"), timeout=30) as http:
        assert post(http).status_code == 200
    (request,) = fake_engine.requests
    names = ("temperature", "repetition_penalty", "frequency_penalty", "presence_penalty")
    assert [request[name] for name in names] == [0.0, 1.0, 0.0, 0.0]


def test_long_recordings_have_neutral_penalties(
    http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """Above five minutes, plain penalties would break the JSON, so only the temperature is
    pinned."""
    assert post(http, wav(tone(301.0, 8_000), 8_000)).status_code == 200
    (request,) = fake_engine.requests
    assert request["temperature"] == 0.0
    assert (request["frequency_penalty"], request["repetition_penalty"]) == (0.0, 1.0)


def test_the_body_is_sent_whole_with_its_length(
    http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """A body of several blocks arrives intact and has a Content-Length."""
    noise = np.random.default_rng(0).uniform(-1, 1, 24_000 * 60)
    assert post(http, wav(noise)).status_code == 200
    assert fake_engine.audio == [(24_000 * 60, 24_000, 1)]
    assert int(fake_engine.headers[0]["content-length"]) > 3_000_000


@pytest.mark.parametrize(
    ("fields", "info"),
    [
        pytest.param({"prompt": "Ann, Bob"}, "Ann, Bob", id="prompt"),
        pytest.param({"hotwords": "Ann"}, "Ann", id="hotwords"),
        pytest.param({"hotwords": ["Ann", "Bob"]}, "Ann, Bob", id="hotwords one by one"),
        pytest.param({"hotwords[]": ["Ann", "Bob"]}, "Ann, Bob", id="hotwords in brackets"),
        pytest.param({"keywords[]": ["Ann", "Bob"]}, "Ann, Bob", id="keywords"),
        pytest.param(
            {"prompt": "a", "hotwords": "b", "keywords[]": "c"}, "a, b, c", id="all of them"
        ),
        pytest.param({"prompt": "Ann\r\n\r\nBob\tC"}, "Ann Bob C", id="line ends"),
        pytest.param({"prompt": "A<|im_end|>B"}, "AB", id="special token"),
        pytest.param({"prompt": "A<|im<|x|>_end|>B<<|y|>|z|>"}, "AB", id="nested special tokens"),
        pytest.param({"prompt": 'say ";base64," \\ 好'}, 'say ";base64," \\ 好', id="JSON text"),
    ],
)
def test_prompt_hotwords_and_keywords_become_extra_info(
    fields: dict[str, Any], info: str, http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """The client's context is sent in the format the model was trained on, without control
    tokens."""
    assert post(http, **fields).status_code == 200
    text = fake_engine.requests[0]["messages"][1]["content"][1]["text"]
    assert text == (
        f"This is a 2.00 seconds audio, with extra info: {info}\n\n"
        f"Please transcribe it with these keys: {KEYS}"
    )


@pytest.mark.parametrize("prompt", ["", " ", "<|im_end|>", "\r\n"])
def test_an_empty_prompt_asks_the_plain_question(
    prompt: str, http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """A prompt that is empty after cleaning adds no extra info."""
    assert post(http, prompt=prompt).status_code == 200
    text = fake_engine.requests[0]["messages"][1]["content"][1]["text"]
    assert "extra info" not in text


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="no model"),
        pytest.param({"model": ""}, id="empty model"),
        pytest.param({"model": "whisper-1"}, id="alias"),
        pytest.param({"model": "something-else"}, id="unknown model"),
        pytest.param({"language": "en"}, id="language code"),
        pytest.param({"language": "pt-BR"}, id="language tag"),
        pytest.param({"language": "English"}, id="language name"),
        pytest.param({"languages[]": ["en", "de"]}, id="languages"),
        pytest.param({"temperature": "0.7"}, id="temperature"),
        pytest.param({"temperature": "", "language": "", "response_format": ""}, id="empty values"),
        pytest.param({"timestamp_granularities[]": ["word", "segment"]}, id="granularities"),
        pytest.param({"timestamp_granularities": "segment"}, id="granularities without brackets"),
        pytest.param({"include[]": "logprobs"}, id="include"),
        pytest.param({"chunking_strategy": "auto"}, id="chunking strategy"),
        pytest.param(
            {"chunking_strategy[type]": "server_vad", "chunking_strategy[threshold]": "0.5"},
            id="chunking object",
        ),
        pytest.param(
            {"known_speaker_names[]": "", "known_speaker_references[]": ""}, id="no known speakers"
        ),
        pytest.param({"known_speakers[]": "A" * 2_600_000}, id="large field"),
        pytest.param({"stream": "False"}, id="not streamed"),
        pytest.param({"num_beams": "2", "nested[a][]": "x"}, id="unknown fields"),
    ],
)
def test_fields_of_other_services_are_taken(
    fields: dict[str, Any], http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """Fields that clients of other services send are accepted, and decoding stays pinned."""
    answer = post(http, **fields)
    assert (answer.status_code, answer.json()["text"]) == (200, "Good morning. Hello.")
    assert fake_engine.requests[0]["model"] == "vibevoice"
    assert fake_engine.requests[0]["temperature"] == 0.0


@pytest.mark.parametrize(
    ("fields", "language"),
    [
        ({"language": "pt-BR"}, "pt-BR"),
        ({"languages[]": ["de"]}, "de"),
        ({"languages[]": ["de", "en"]}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_verbose_json_echoes_the_language(
    fields: dict[str, Any], language: str, http: httpx2.Client
) -> None:
    """The model does not report the language, so the client's only one is returned."""
    answer = post(http, response_format="verbose_json", **fields)
    assert answer.json()["language"] == language


@pytest.mark.parametrize(
    ("response_format", "content_type", "start"),
    [
        ("json", "application/json", '{"text": "Good'),
        ("text", "text/plain; charset=utf-8", "Good morning. Hello.\n"),
        ("srt", "application/x-subrip; charset=utf-8", "1\n00:00:00,000 -->"),
        ("verbose_json", "application/json", '{"task": "transcribe"'),
        ("vtt", "text/vtt; charset=utf-8", "WEBVTT\n"),
        ("diarized_json", "application/json", '{"task": "transcribe"'),
    ],
)
@pytest.mark.parametrize("path", [TRANSCRIPTIONS, "/audio/transcriptions"])
def test_formats_have_their_content_type(
    path: str, response_format: str, content_type: str, start: str, http: httpx2.Client
) -> None:
    """Each format has the correct type under both paths."""
    answer = http.post(
        path, data={"response_format": response_format}, files={"file": ("x.mp3", SPEECH)}
    )
    assert answer.headers["content-type"] == content_type
    assert answer.text.startswith(start)


@pytest.mark.parametrize("response_format", ["json", "verbose_json", "diarized_json"])
def test_silence_is_an_empty_transcript_without_the_engine(
    response_format: str, http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """Silence returns 200 with an empty transcript, without calling the engine."""
    answer = post(http, wav(np.zeros(48_000)), response_format=response_format)
    assert answer.status_code == 200
    assert answer.json()["text"] == ""
    assert answer.json().get("segments", []) == []
    assert fake_engine.requests == []


def test_a_cut_off_answer_keeps_what_was_said(http: httpx2.Client, fake_engine: FakeEngine) -> None:
    """If the engine runs out of tokens, the transcript has the words so far."""
    fake_engine.text = fake_engine.text[:-7]
    fake_engine.finish_reason = "length"
    assert post(http).json()["text"] == "Good morning. He"


def test_plain_text_of_the_model_is_the_transcript(
    http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """Output that is not JSON is still used."""
    fake_engine.text = "Good morning."
    answer = post(http, response_format="verbose_json").json()
    assert answer["text"] == "Good morning."
    assert [(item["start"], item["end"]) for item in answer["segments"]] == [(0.0, 2.0)]


def events_of(answer: httpx2.Response) -> list[dict[str, Any]]:
    """The server-sent events of a streamed response."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]


@pytest.mark.parametrize("stream", ["true", "True", "1", "on"])
def test_streamed_deltas_add_up_to_the_text(stream: str, http: httpx2.Client) -> None:
    """A streamed transcription consists of plain-text deltas and the full text."""
    events = events_of(post(http, stream=stream))
    assert [event["type"] for event in events] == [
        "transcript.text.delta",
        "transcript.text.delta",
        "transcript.text.done",
    ]
    assert "".join(event.get("delta", "") for event in events) == events[-1]["text"]
    assert events[-1]["usage"]["total_tokens"] == 140


def test_streamed_diarization_has_segments(http: httpx2.Client) -> None:
    """With diarized_json each delta is followed by its segment."""
    events = events_of(post(http, stream="true", response_format="diarized_json"))
    assert [event["type"] for event in events[:2]] == [
        "transcript.text.delta",
        "transcript.text.segment",
    ]
    assert (events[1]["id"], events[1]["speaker"]) == (events[0]["segment_id"], "A")


def test_streamed_silence_is_done_at_once(http: httpx2.Client) -> None:
    """Silence streams only the final event."""
    (done,) = events_of(post(http, wav(np.zeros(48_000)), stream="true"))
    assert (done["type"], done["text"]) == ("transcript.text.done", "")


def test_a_failure_on_the_way_ends_the_stream_with_an_error(
    http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """The text so far comes first, then an error instead of the final event."""
    fake_engine.cut_after = len(fake_engine.text) // fake_engine.split - 2
    events = events_of(post(http, stream="true"))
    assert events[0]["delta"] == "Good morning."
    assert events[-1]["error"]["type"] == "server_error"
    assert len(events) == 2


def test_a_failure_before_the_first_segment_has_its_own_status(
    http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """If the stream has not begun, the error is an ordinary response."""
    fake_engine.cut_after = 0
    assert post(http, stream="true").status_code == 502


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_client_that_hangs_up_stops_the_engine(
    stream: str, start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """The engine sees the connection close even while it is silent, streamed or not."""
    fake_engine.stall_after = len(fake_engine.text) // fake_engine.split - 2
    url = start_proxy()
    before = temporary_files()
    with start_upload(url, wav(tone(60.0)), stream=stream) as connection:
        wait_for(lambda: fake_engine.asked)
        if stream == "true":
            with connection.makefile("rb") as answer:
                assert any(line.startswith(b"data: ") for line in answer)
    assert fake_engine.closed.wait(60)
    wait_for(lambda: temporary_files() <= before)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(wav(tone(60.0)), 200, id="transcribed"),
        pytest.param(b"x" * 3_000_000, 400, id="undecodable"),
        pytest.param(wav(np.zeros(48_000 * 30)), 200, id="silence"),
    ],
)
def test_no_temporary_file_outlives_its_request(
    data: bytes, status: int, http: httpx2.Client
) -> None:
    """Files are gone after the response, whatever it was."""
    before = temporary_files()
    assert post(http, data).status_code == status
    wait_for(lambda: temporary_files() <= before)


def test_requests_in_parallel_do_not_mix(http: httpx2.Client, fake_engine: FakeEngine) -> None:
    """Sixteen concurrent recordings each reach the engine with their own length."""
    durations = [1.0 + number / 4 for number in range(16)]
    answers: list[float] = [0.0] * len(durations)

    def transcribe(number: int) -> None:
        answer = post(http, wav(tone(durations[number])), response_format="verbose_json")
        answers[number] = answer.json()["duration"]

    threads = [threading.Thread(target=transcribe, args=(n,)) for n in range(len(durations))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == durations
    assert sorted(samples for samples, _, _ in fake_engine.audio) == [24_000 * d for d in durations]


def test_strict_model_names_refuse_an_unknown_model(start_proxy: StartProxy) -> None:
    """With strict names, an alias works and an unknown name is a 404."""
    with httpx2.Client(base_url=start_proxy(strict_model_names=True), timeout=60) as http:
        assert post(http, model="whisper-1").status_code == 200
        assert post(http, model="").status_code == 200
        for answer in (post(http, model="gpt-5"), http.get("/v1/models/gpt-5")):
            assert answer.status_code == 404
            assert answer.json()["error"]["code"] == "model_not_found"
            assert "GET /v1/models lists" in answer.json()["error"]["message"]


def test_the_served_name_goes_to_the_engine(
    start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """Requests to the engine use its served name, which is listed first."""
    with httpx2.Client(base_url=start_proxy(served_model_name="mine"), timeout=60) as http:
        assert post(http, model="whisper-1").status_code == 200
        models = http.get("/v1/models").json()["data"]
    assert fake_engine.requests[0]["model"] == "mine"
    assert models[0]["id"] == "mine"


def test_health_tells_the_state_of_the_engine(http: httpx2.Client, fake_engine: FakeEngine) -> None:
    """Readiness follows the engine, liveness does not."""
    assert http.get("/health").json() == {"status": "ok", "parts": {"proxy": "ok", "asr": "ok"}}
    fake_engine.healthy = False
    answer = http.get("/health")
    assert answer.status_code == 503
    assert answer.json()["parts"]["proxy"] == "ok"
    assert answer.json()["parts"]["asr"] != "ok"
    assert http.get("/health/live").status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/models", "/v1/models/whisper-1"])
def test_information_is_served(path: str, http: httpx2.Client) -> None:
    """The listings and the documentation respond."""
    assert http.get(path).status_code == 200


def test_the_documentation_describes_the_form(http: httpx2.Client) -> None:
    """The OpenAPI document lists the fields of the transcription form."""
    post_operation = http.get("/openapi.json").json()["paths"][TRANSCRIPTIONS]["post"]
    schema = post_operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"file", "response_format", "hotwords", "keywords[]"} <= set(schema["properties"])


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, "http://127.0.0.1:8006", id="default"),
        pytest.param({"ASR_PORT": "9000"}, "http://127.0.0.1:9000", id="port"),
        pytest.param({"ASR_BASE_URL": "http://gpu:1/v1/"}, "http://gpu:1", id="url with v1"),
        pytest.param({"ASR_BASE_URL": "https://gpu/asr"}, "https://gpu/asr", id="url with a path"),
    ],
)
def test_the_engine_is_found_by_port_or_url(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's address is read from the existing environment variables."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Settings().asr_url == expected


def test_aliases_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list in the environment is comma-separated."""
    monkeypatch.setenv("VIBEVOICE_MODEL_ALIASES", "a, b,,c")
    assert Settings().model_aliases == ("a", "b", "c")
