"""POST /v1/audio/speech over a real socket, with the models that need no weights."""

import base64
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import av
import httpx2
import numpy as np
import openai
import pytest
from tests.support.fakes import StartProxy, serve
from tests.support.metrics import samples_when
from tests.support.processes import wait_for, wait_until_idle, wait_until_it_speaks
from tests.support.workers import (
    SPEECH,
    keep_workers_from_starting,
    newest_worker,
    workers,
)

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings

TEXT = "Hello there, this is a test. It has two sentences."
pytest_plugins = ("tests.support.proxy_fixtures",)

LONG_TEXT = "This is one of the many sentences of a long story. " * 300
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module", params=["espeak", "hibari"])
def model(request: pytest.FixtureRequest) -> str:
    """The name of the model."""
    return request.param


@pytest.fixture(scope="module")
def url(model: str) -> Iterator[str]:
    """A proxy with speech, shared by the whole module, without a transcription engine."""
    with serve(create_app(Settings(asr_base_url=NOWHERE, tts_model_type=model))) as base:
        wait_until_it_speaks(base, model)
        yield base


def voices(http: httpx2.Client) -> list[str]:
    """The names of the voices, sorted."""
    return [voice["id"] for voice in http.get("/v1/audio/voices").json()["voices"]]


@pytest.fixture
def http(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def seconds(data: bytes) -> float:
    """Length in seconds of a response in any format except pcm."""
    with av.open(io.BytesIO(data), "r") as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def speak(http: httpx2.Client, **body: Any) -> httpx2.Response:
    return http.post("/v1/audio/speech", json={"model": "tts-1", "input": TEXT, **body})


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n") if line]


@pytest.mark.parametrize(
    ("response_format", "media_type"),
    [
        ("mp3", "audio/mpeg"),
        ("opus", "audio/ogg"),
        ("aac", "audio/aac"),
        ("flac", "audio/flac"),
        ("wav", "audio/wav"),
        ("pcm", "audio/pcm"),
    ],
)
def test_openai_client_gets_every_format(
    client: openai.OpenAI, response_format: Any, media_type: str
) -> None:
    """The Content-Type is right, and the audio is as long as the plain samples, within 60 ms (plus
    the 10 ms by which eSpeak varies)."""
    plain = client.audio.speech.create(
        model="tts-1", voice="alloy", input=TEXT, response_format="pcm"
    )
    answer = client.audio.speech.create(
        model="tts-1", voice="alloy", input=TEXT, response_format=response_format
    )
    expected = len(plain.content) / 2 / 24000
    assert 2 < expected < 6
    assert answer.response.headers["content-type"] == media_type
    if response_format != "pcm":
        assert seconds(answer.content) == pytest.approx(expected, abs=0.07)


def test_mp3_is_the_default(http: httpx2.Client) -> None:
    """Open WebUI sends no response_format."""
    answer = http.post("/audio/speech", json={"model": "tts-1", "input": TEXT, "voice": "alloy"})
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["x-request-id"].startswith("req_")
    assert 2 < seconds(answer.content) < 6


def test_first_bytes_come_before_generation_ends(client: openai.OpenAI) -> None:
    """When the first bytes arrive, the worker has yet to speak most of a long text. A slow client
    does not change that: uncompressed, most of it is more than a connection can buffer."""
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=LONG_TEXT, response_format="wav"
    ) as answer:
        chunks = answer.iter_bytes(1024)
        first = next(chunks)
        worker = newest_worker(SPEECH)
        before = worker.cpu_times().user
        rest = b"".join(chunks)
        after = worker.cpu_times().user
    assert len(rest) > 100 * len(first)
    assert after - before > 0.1


@pytest.mark.parametrize("speed", [0.25, 0.5, 2.0, 4.0])
def test_speed_changes_the_length(http: httpx2.Client, speed: float) -> None:
    """The audio length is divided by the speed."""
    normal, changed = (
        len(speak(http, response_format="pcm", speed=s).content) for s in (1.0, speed)
    )
    assert changed == pytest.approx(normal / speed, rel=0.03)


def test_events_carry_the_audio_and_the_usage(http: httpx2.Client) -> None:
    """stream_format=sse sends deltas in base64, then the usage by words and speech frames."""
    answer = speak(http, response_format="pcm", stream_format="sse")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *deltas, done = events_of(answer.text)
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    audio = b"".join(base64.b64decode(event["audio"]) for event in deltas)
    frames = done["usage"]["output_tokens"]
    assert frames == -(-len(audio) // 2 // 3200)
    assert done == {
        "type": "speech.audio.done",
        "usage": {"input_tokens": 10, "output_tokens": frames, "total_tokens": 10 + frames},
    }


@pytest.mark.parametrize(
    "text",
    ["...", "—", ":)", "♥", "😀 ...", "?", "---", "```\nx = 1\n```", "•"],
)
def test_a_text_without_words_is_a_short_silence(text: str, http: httpx2.Client) -> None:
    """This is not an error: clients that read text aloud in parts send such parts, and an error
    would stop them."""
    audio = np.frombuffer(speak(http, input=text, response_format="pcm").content, "<i2")
    assert len(audio) == 4800
    assert not audio.any()


def test_a_silence_has_every_format_and_events(http: httpx2.Client) -> None:
    """The response is a valid file, and the usage has no words."""
    for response_format in ("mp3", "opus", "aac", "flac", "wav"):
        answer = speak(http, input="...", response_format=response_format)
        assert answer.status_code == 200
        assert answer.content
    done = events_of(speak(http, input="...", stream_format="sse").text)[-1]
    assert done["usage"] == {"input_tokens": 0, "output_tokens": 2, "total_tokens": 2}


def test_a_silence_needs_no_worker(
    start_proxy: StartProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence also works while a dead worker cannot be replaced."""
    base = start_proxy(tts_model_type="espeak")
    wait_until_it_speaks(base, "espeak")
    keep_workers_from_starting(monkeypatch)
    with httpx2.Client(base_url=base, timeout=60) as client:
        newest_worker(SPEECH).kill()
        wait_for(lambda: speak(client).status_code == 503)
        answer = speak(client, input="...", response_format="pcm")
        assert (answer.status_code, len(answer.content)) == (200, 9600)


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        pytest.param({"input": ""}, "input", "empty", id="empty"),
        pytest.param({"input": None}, "input", "required", id="no-input"),
        pytest.param({"input": "a" * 50_001}, "input", "at most 50000", id="too-long"),
        pytest.param({"input": 7}, "input", "valid string", id="no-text"),
        pytest.param({"voice": "nobody"}, "voice", "is unknown. Voices:", id="voice"),
        pytest.param({"voice": "../../etc/passwd"}, "voice", "Voices:", id="voice-path"),
        pytest.param({"voice": {"id": "nobody"}}, "voice", "Voices:", id="voice-id"),
        pytest.param({"voice": ["alloy"]}, "voice", "valid", id="voice-list"),
        pytest.param({"speed": 0.2}, "speed", "0.25", id="slow"),
        pytest.param({"speed": 4.1}, "speed", "4", id="fast"),
        pytest.param({"speed": float("nan")}, "speed", "", id="nan"),
        pytest.param({"response_format": "midi"}, "response_format", "'mp3'", id="format"),
        pytest.param({"stream_format": "x"}, "stream_format", "'sse'", id="stream-format"),
        pytest.param({"steps": 0}, "steps", "1", id="steps"),
        pytest.param({"cfg_scale": 99}, "cfg_scale", "10", id="cfg"),
        pytest.param({"speakers": {c: "alloy" for c in "abcde"}}, "speakers", "4", id="speakers"),
    ],
)
def test_bad_values_are_named(
    http: httpx2.Client, body: dict[str, Any], param: str, message: str
) -> None:
    """An OpenAI-style 400 names the field and what was expected, before any audio."""
    content = json.dumps({"model": "tts-1", "input": TEXT, **body})
    answer = http.post("/v1/audio/speech", content=content)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["param"] == param
    assert message in error["message"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'"x"', b"null"])
def test_body_that_is_no_object_is_refused(http: httpx2.Client, content: bytes) -> None:
    """A body that is not an object returns 400, not 500."""
    answer = http.post("/v1/audio/speech", content=content)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_large_body_is_refused(http: httpx2.Client) -> None:
    """A body above the limit returns 413."""
    answer = http.post("/v1/audio/speech", content=b" " * (16 * 1024 * 1024 + 1))
    assert answer.status_code == 413


def test_script_is_spoken_by_its_speakers(http: httpx2.Client) -> None:
    """Labeled lines change the voice, and the labels are not read aloud."""
    script = "Ann: One two three.\nBob: One two three."
    speakers = {"Ann": voices(http)[0], "Bob": voices(http)[-1]}
    both = speak(http, input=script, speakers=speakers, response_format="pcm").content
    each = [
        speak(http, input="One two three.", voice=voice, response_format="pcm").content
        for voice in speakers.values()
    ]
    assert len(both) == pytest.approx(sum(len(audio) for audio in each), rel=0.15)


def test_voices_and_models_are_listed(
    http: httpx2.Client, client: openai.OpenAI, model: str
) -> None:
    """Both formats are in one body; all models are also in the general list, the engine by its own
    name."""
    listed = http.get("/v1/audio/voices").json()
    assert listed["voices"] == listed["data"] == http.get("/audio/voices").json()["data"]
    assert {"id", "name"} <= listed["voices"][0].keys()
    models = http.get("/v1/audio/models").json()
    names = [model["id"] for model in models["models"]]
    assert names[:2] == [model, "tts-1"]
    assert {one["root"] for one in models["models"]} == {model}
    assert {"tts-1-hd", "gpt-4o-mini-tts"} < set(names)
    assert set(names) < {model.id for model in client.models.list()}


@pytest.mark.parametrize("voice", ["alloy", "marin", {"id": "verse"}, "a part", None])
def test_voices_are_found(http: httpx2.Client, model: str, voice: Any) -> None:
    """OpenAI's names, its object form, a unique part of a name and an empty name work; the response
    names the model."""
    voice = voices(http)[0][2:].upper() if voice == "a part" else voice
    answer = speak(http, voice=voice, instructions="Be kind.", seed=1)
    assert (answer.status_code, answer.headers["x-vibevoice-model"]) == (200, model)


def test_sixteen_streams_leave_the_proxy_responsive(http: httpx2.Client) -> None:
    """All complete while others request the health of the process; the time taken is printed, not
    asserted."""
    with ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(speak, http, input=LONG_TEXT[:510]) for _ in range(16)]
        delays = []
        are_done = False
        while not are_done:
            are_done = all(answer.done() for answer in answers)
            start = time.perf_counter()
            assert http.get("/health/live").status_code == 200
            delays.append(time.perf_counter() - start)
    lengths = [seconds(answer.result().content) for answer in answers]
    print(f"{len(delays)} checks, p99 {1000 * np.quantile(delays, 0.99):.1f} ms")
    assert max(lengths) - min(lengths) < 1
    assert min(lengths) > 20


def test_too_many_requests_are_told_to_come_back(start_proxy: StartProxy) -> None:
    """At the limit, a request gets 429 with Retry-After; other requests are not affected."""
    base = start_proxy(tts_model_type="espeak", tts_batch_size=1, tts_max_queue=0)
    wait_until_it_speaks(base, "espeak")
    body = {"input": LONG_TEXT, "response_format": "pcm"}
    with httpx2.Client(base_url=base, timeout=60) as client:
        with client.stream("POST", "/v1/audio/speech", json=body) as first:
            assert first.status_code == 200
            answer = speak(client)
            assert speak(client, input="…").status_code == 200  # a text without words takes no slot
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"


def test_worker_killed_in_the_middle(
    start_proxy: StartProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain audio is cut off, which the client notices; events end with an error. Until there is a
    new worker, requests get 503 with Retry-After; it serves the next one."""
    base = start_proxy(tts_model_type="espeak")
    wait_until_it_speaks(base, "espeak")
    # 45 minutes of audio: unread, neither response ends before the worker is killed.
    body = {"input": LONG_TEXT * 3, "response_format": "wav"}
    with (
        httpx2.Client(base_url=base, timeout=60) as client,
        client.stream("POST", "/v1/audio/speech", json=body) as audio,
        client.stream("POST", "/v1/audio/speech", json={**body, "stream_format": "sse"}) as events,
    ):
        parts, lines = audio.iter_bytes(), events.iter_lines()
        next(parts)
        next(lines)
        with monkeypatch.context() as meanwhile:
            # The kill may hit between two passages, and a new worker would speak the next one.
            keep_workers_from_starting(meanwhile)
            newest_worker(SPEECH).kill()
            with pytest.raises(httpx2.RemoteProtocolError):
                b"".join(parts)
            last = json.loads([line for line in lines if line][-1].removeprefix("data: "))
            assert last["error"]["code"] == "speech_unavailable"
            refused = speak(client)
            assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        wait_for(lambda: speak(client).status_code == 200)


def test_client_that_hangs_up_stops_the_speech(start_proxy: StartProxy) -> None:
    """Of 45 minutes, only a few are passed on: what the connection buffers before the client is
    gone. Then the worker is idle."""
    base = start_proxy(tts_model_type="espeak", tts_passage_chars=50_000)
    wait_until_it_speaks(base, "espeak")
    worker = newest_worker(SPEECH)
    body = {"input": LONG_TEXT * 3, "response_format": "pcm"}
    with httpx2.stream("POST", f"{base}/v1/audio/speech", json=body, timeout=60) as answer:
        next(answer.iter_bytes())
    with httpx2.Client(base_url=base, timeout=60) as client:
        idle = ("vibevoice_speech_in_flight", "espeak")
        found = samples_when(client, lambda found: found[idle] == 0)
    assert 0 < found["vibevoice_speech_audio_seconds_total", "espeak"] < 600
    wait_until_idle(worker)


def test_speech_can_be_off(start_proxy: StartProxy) -> None:
    """Requests get a 404 that says why, the listings are empty, and no worker is started."""
    before = len(workers(SPEECH))
    with httpx2.Client(base_url=start_proxy(tts_model_type="off"), timeout=60) as client:
        answer = speak(client)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
        assert "TTS_MODEL_TYPE" in answer.json()["error"]["message"]
        assert client.get("/v1/audio/voices").json()["voices"] == []
    assert len(workers(SPEECH)) == before


def test_strict_names_refuse_unknown_models(start_proxy: StartProxy) -> None:
    """An unknown name returns 404 with strict names; otherwise it means the default model."""
    base = start_proxy(tts_model_type="espeak", strict_model_names=True)
    wait_until_it_speaks(base, "espeak")
    with httpx2.Client(base_url=base, timeout=60) as client:
        assert speak(client, model="tts-9").status_code == 404
        assert speak(client, model="tts-1-hd").status_code == 200


def test_missing_weights_are_a_wrong_setting() -> None:
    """A configured model that is missing is reported at startup."""
    with pytest.raises(ValueError, match="VibeVoice-1.5B in MODEL_DIR"):
        Settings(tts_model_type="1.5b")
