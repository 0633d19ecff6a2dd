"""API keys, CORS, request ids and logging."""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine, StartProxy, serve
from tests.support.processes import proxy_process, wait_for
from tests.support.recordings import tone, wav
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from vibevoice_proxy.access import read_api_keys
from vibevoice_proxy.logs import REQUEST_ID, JsonFormatter
from vibevoice_proxy.settings import Settings

pytest_plugins = ("tests.support.proxy_fixtures",)

SPEECH = wav(tone(2.0))
KEYS = ("first-key", "second-key", "th!rd/k=y~")
PAGE = "http://page.example"


@pytest.fixture
def closed(start_proxy: StartProxy) -> Iterator[httpx2.Client]:
    """A proxy that requires one of three keys."""
    url = start_proxy(api_keys=",".join(KEYS), cors_origins=PAGE)
    with httpx2.Client(base_url=url, timeout=30) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    """The authorization header with a key."""
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize("key", KEYS)
def test_each_key_opens(key: str, closed: httpx2.Client) -> None:
    """Several keys are valid, so one can be rotated while another still works."""
    answer = closed.post(TRANSCRIPTIONS, files={"file": ("a", SPEECH)}, headers=bearer(key))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no header"),
        pytest.param({"authorization": "Bearer"}, id="no key"),
        pytest.param(bearer("first-ke"), id="part of a key"),
        pytest.param(bearer("FIRST-KEY"), id="other case"),
        pytest.param(bearer("first-key,second-key"), id="both at once"),
        pytest.param({"authorization": "Basic first-key"}, id="another scheme"),
        pytest.param({"authorization": "Bearer b\xf6se".encode("latin-1")}, id="no ASCII"),  # type: ignore[dict-item]
    ],
)
def test_without_a_known_key_nothing_is_done(
    headers: dict[str, str], closed: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """An OpenAI-style 401 names the expected scheme and does not repeat the key that was sent."""
    answer = closed.post(TRANSCRIPTIONS, files={"file": ("a", SPEECH)}, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-request-id"].startswith("req_")
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
    assert "first" not in error["message"].lower()
    assert fake_engine.asked == 0


def test_the_official_client_raises_although_it_was_still_sending(start_proxy: StartProxy) -> None:
    """The proxy rejects the request before reading the body; the client reads the response and does
    not retry."""
    url = start_proxy(api_keys="good")
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="bad") as client,
        pytest.raises(openai.AuthenticationError, match="Incorrect API key"),
    ):
        client.audio.transcriptions.create(file=bytes(50_000_000), model="x")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/health/live", 200),
        ("GET", "/v1/models", 200),
        ("GET", "/models/vibevoice", 200),
        ("GET", "/v1/audio/voices", 200),
        ("GET", "/audio/models", 200),
        ("GET", "/", 200),
        ("GET", "/metrics", 401),
        ("GET", "/nowhere", 401),
        ("GET", TRANSCRIPTIONS, 401),
        ("POST", "/v1/models", 401),
        ("POST", "/v1/audio/voices", 401),
        ("DELETE", "/v1/audio/voices/x", 401),
        ("POST", "/v1/audio/translations", 401),
        ("POST", "/v1/audio/speech", 401),
    ],
)
def test_listings_and_health_are_open_and_nothing_else(
    method: str, path: str, status: int, closed: httpx2.Client
) -> None:
    """Open WebUI lists models and voices without its key."""
    assert closed.request(method, path).status_code == status


def test_listings_can_be_closed(start_proxy: StartProxy) -> None:
    """With closed listings, only the health check is open."""
    with httpx2.Client(base_url=start_proxy(api_keys="k", open_listings=False), timeout=60) as http:
        assert http.get("/v1/models").status_code == 401
        assert http.get("/docs").status_code == 401
        assert http.get("/v1/models", headers=bearer("k")).status_code == 200
        assert http.get("/health").status_code == 200


def test_without_keys_everything_is_open(http: httpx2.Client) -> None:
    """A key is ignored if none is required."""
    answer = http.post(TRANSCRIPTIONS, files={"file": ("a", SPEECH)}, headers=bearer("any"))
    assert answer.status_code == 200


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    """The file has one key per line, in addition to those in the setting; comments and empty lines
    are ignored."""
    file = tmp_path / "keys"
    file.write_text("# ours\none\n\n two # of Ann\n")
    settings = Settings(api_keys="zero", api_keys_file=str(file))  # type: ignore[arg-type]
    assert read_api_keys(settings) == ["zero", "one", "two"]


def test_keys_are_not_shown_with_the_settings() -> None:
    """Printing the settings does not reveal the keys."""
    settings = Settings(api_keys="hush", translate_api_key="secrecy")  # type: ignore[arg-type]
    assert not re.search("hush|secrecy", repr(settings))


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), ("# nothing\n", "contains no key")]
)
def test_a_file_without_keys_ends_the_start(content: str | None, said: str, tmp_path: Path) -> None:
    """A server that should require keys does not start without any."""
    file = tmp_path / "keys"
    if content is not None:
        file.write_text(content)
    process = subprocess.run(
        [sys.executable, "-m", "vibevoice_proxy"],
        env={
            **os.environ,
            "VIBEVOICE_API_KEYS_FILE": str(file),
            "API_PORT": "0",
        },
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert process.returncode == 1
    assert said in process.stderr
    assert "Traceback" not in process.stderr


def test_a_page_of_a_known_origin_may_call(closed: httpx2.Client) -> None:
    """The preflight request needs no key, and the page may read the responses."""
    asked = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    preflight = closed.options(TRANSCRIPTIONS, headers=asked)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == PAGE
    refused = closed.get("/metrics", headers={"origin": PAGE})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-credentials" not in refused.headers


def test_a_page_of_another_origin_may_not(closed: httpx2.Client, http: httpx2.Client) -> None:
    """Unlisted origins may not call, nor may any origin if the list is empty."""
    for client in (closed, http):
        answer = client.get("/health/live", headers={"origin": "http://evil.example"})
        assert "access-control-allow-origin" not in answer.headers


def test_every_answer_is_one_log_line_with_its_id(
    http: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Logs method, original path and status; a line break in the path does not split the line."""
    with caplog.at_level(logging.INFO, "vibevoice_proxy"):
        http.get("/v1/models?a=b")
        http.get("/x%0Ay")
        lines = wait_for(lambda: two if len(two := logged(caplog)) == 2 else None)
    assert [line.rpartition(" in ")[0] for line in lines] == [
        "GET /v1/models: 200",
        "GET /x%0Ay: 404",
    ]


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines about responses so far; each is logged after its response was sent."""
    return [message for message in caplog.messages if " in " in message]


@pytest.mark.parametrize("path", ["/health", "/health/live", "/metrics"])
def test_probes_are_logged_when_they_fail_or_at_debug(
    path: str, start_proxy: StartProxy, fake_engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """Probes arrive every few seconds and would hide important lines."""
    url = start_proxy(api_keys="s3cret")
    with caplog.at_level(logging.INFO, "vibevoice_proxy"):
        httpx2.get(url + path, headers=bearer("s3cret"), timeout=60)
    assert f"GET {path}" not in caplog.text
    with caplog.at_level(logging.DEBUG, "vibevoice_proxy"):
        httpx2.get(url + path, headers=bearer("s3cret"), timeout=60)
        wait_for(lambda: f"GET {path}: 200" in caplog.text)
    fake_engine.healthy = False
    with caplog.at_level(logging.INFO, "vibevoice_proxy"):
        answer = httpx2.get(url + "/health", headers=bearer("s3cret"), timeout=60)
        assert answer.status_code == 503
        wait_for(lambda: "GET /health: 503" in caplog.text)


def test_nothing_of_what_was_said_is_logged(
    start_proxy: StartProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """Transcripts, prompts and keys are never logged, at any level."""
    url = start_proxy(api_keys="s3cret", log_level="DEBUG")
    with caplog.at_level(logging.DEBUG, "vibevoice_proxy"):
        answer = httpx2.post(
            url + TRANSCRIPTIONS,
            data={"prompt": "Zanzibar", "language": "Klingon"},
            files={"file": ("diary.wav", SPEECH)},
            headers=bearer("s3cret"),
            timeout=60,
        )
    assert answer.json()["text"] == "Good morning. Hello."
    assert "transcribed" in caplog.text
    for private in ("Good morning", "Zanzibar", "Klingon", "diary", "s3cret"):
        assert private not in caplog.text


def test_keys_and_events_of_websockets_are_not_logged(
    fake_engine: FakeEngine, tmp_path: Path
) -> None:
    """Even at DEBUG, the log contains no key from a header or a subprotocol, no event, and no
    response to one."""
    log = tmp_path / "log"
    with (
        serve(fake_engine.app()) as engine,
        proxy_process(
            log,
            ASR_BASE_URL=engine,
            TTS_MODEL_TYPE="off",
            VIBEVOICE_API_KEYS="s3cret",
            VIBEVOICE_LOG_LEVEL="DEBUG",
        ) as (_, url),
    ):
        address = f"{url.replace('http', 'ws', 1)}/v1/realtime?intent=transcription"
        protocols = [Subprotocol("realtime"), Subprotocol("openai-insecure-api-key.s3cret")]
        for client in (
            connect(address, additional_headers=bearer("s3cret")),
            connect(address, subprotocols=protocols),
        ):
            with client:
                client.send('{"type": "Zanzibar"}')
                assert "session.created" in str(client.recv(60))
                assert "Zanzibar" in str(client.recv(60))
    text = log.read_text()
    assert "DEBUG" in text
    assert text.count("the session ended") == 2
    for private in ("s3cret", "Zanzibar"):
        assert private not in text


def test_an_answer_that_is_not_understood_is_not_logged(
    http: httpx2.Client, fake_engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected response may contain the transcript, so only its length is logged."""
    fake_engine.junk_after = 3
    answer = http.post(TRANSCRIPTIONS, files={"file": ("a", SPEECH)})
    assert answer.status_code == 502
    assert "unexpected message of 6 characters" in caplog.text
    assert "<html>" not in caplog.text


def test_the_process_logs_json_with_the_request_id(fake_engine: FakeEngine, tmp_path: Path) -> None:
    """Every line of a separate proxy process is a JSON object; lines about a request have its
    id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vibevoice_proxy"],
        env={
            **os.environ,
            "API_PORT": "0",
            "TTS_MODEL_TYPE": "off",
            "VIBEVOICE_LOG_FORMAT": "json",
        },
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    try:
        assert process.stderr is not None
        lines = (json.loads(line) for line in process.stderr)
        found = (re.search(r"running on (http://\S+)", line["message"]) for line in lines)
        url = next(match[1] for match in found if match)
        answer = httpx2.get(url + "/v1/models", timeout=60)
        line = next(line for line in lines if "/v1/models" in line["message"])
    finally:
        process.terminate()
        process.communicate()
    assert line["request_id"] == answer.headers["x-request-id"]
    assert set(line) == {"time", "level", "logger", "request_id", "message"}


def test_a_json_line_is_one_line_whatever_is_in_it() -> None:
    """Line breaks and stack traces stay inside JSON strings."""
    try:
        raise ValueError("a\nb")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "%s", ("c\nd",), sys.exc_info())
    token = REQUEST_ID.set("req_1")
    line = JsonFormatter().format(record)
    REQUEST_ID.reset(token)
    assert "\n" not in line
    assert json.loads(line)["request_id"] == "req_1"
    assert json.loads(line)["message"] == "c\nd"
    assert "ValueError" in json.loads(line)["exception"]
