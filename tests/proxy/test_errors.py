"""Every error has an HTTP status, an OpenAI error body and a request id, and leaks nothing."""

import base64
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from starlette.types import Receive, Scope, Send
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine, StartProxy, serve
from tests.support.recordings import tone, wav

from vibevoice_proxy.edge import RequestId

pytest_plugins = ("tests.support.proxy_fixtures",)

SPEECH = wav(tone(2.0))
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}
Fields = dict[str, Any]


def error_of(answer: httpx2.Response) -> dict[str, Any]:
    """The error in `answer`, checked for the common shape."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    (error,) = answer.json().values()
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    for secret in ("Traceback", "/tmp", "/secret", "VLLM_", "site-packages", "127.0.0.1"):
        assert secret not in answer.text
    return error


def post(
    http: httpx2.Client, fields: Fields | None = None, data: bytes = SPEECH
) -> httpx2.Response:
    """A transcription of `data`."""
    return http.post(TRANSCRIPTIONS, data=fields or {}, files={"file": ("upload", data)})


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        pytest.param({"response_format": "xml"}, "response_format", "'verbose_json'", id="format"),
        pytest.param({"temperature": "abc"}, "temperature", "number", id="temperature a word"),
        pytest.param({"temperature": "inf"}, "temperature", "finite", id="temperature infinite"),
        pytest.param({"temperature": "5"}, "temperature", "less than", id="temperature high"),
        pytest.param({"temperature": "-1"}, "temperature", "greater than", id="temperature low"),
        pytest.param({"stream": "maybe"}, "stream", "boolean", id="stream"),
        pytest.param(
            {"stream": "true", "response_format": "srt"}, "stream", "diarized_json", id="srt stream"
        ),
        pytest.param(
            {"timestamp_granularities[]": "letter"},
            "timestamp_granularities",
            "'segment' or 'word'",
            id="granularity",
        ),
        pytest.param({"include[]": "all"}, "include", "'logprobs'", id="include"),
        pytest.param({"prompt": "x" * 4001}, "prompt", "at most 4000", id="long prompt"),
        pytest.param({"keywords[]": ["x" * 3000] * 2}, "prompt", "6000", id="long keywords"),
        pytest.param({"language": "x" * 65}, "language", "64", id="long language"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_expected(
    fields: Fields, param: str, said: str, http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """Returns 400 with the field as param and the expected value; the engine is not called."""
    answer = post(http, fields)
    error = error_of(answer)
    assert (answer.status_code, error["param"]) == (400, param)
    assert error["type"] == "invalid_request_error"
    assert said in error["message"]
    assert fake_engine.requests == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"", "audio_too_short", id="zero bytes"),
        pytest.param(np.random.default_rng(0).bytes(100_000), "invalid_audio", id="garbage"),
        pytest.param(wav(tone(0.01)), "audio_too_short", id="10 ms"),
        pytest.param(
            wav(np.full(24_000, np.nan), subtype="FLOAT"), "invalid_audio", id="not finite"
        ),
    ],
)
def test_a_file_that_is_no_recording_is_a_400(
    data: bytes, code: str, http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """The engine never receives a file that cannot be transcribed."""
    answer = post(http, data=data)
    error = error_of(answer)
    assert (answer.status_code, error["param"], error["code"]) == (400, "file", code)
    assert fake_engine.requests == []


@pytest.mark.parametrize(
    ("seconds", "limit"), [(30.0, "30 seconds"), (60.0, "60 seconds"), (150.0, "2.5 minutes")]
)
def test_a_long_recording_is_a_400_with_the_limit(
    seconds: float, limit: str, start_proxy: StartProxy
) -> None:
    """A recording that is too long is the client's error; the message states the limit."""
    with httpx2.Client(base_url=start_proxy(max_audio_seconds=seconds), timeout=60) as http:
        answer = post(http, data=wav(tone(seconds + 1.0)))
    assert answer.status_code == 400
    assert f"longer than {limit}, the maximum" in error_of(answer)["message"]


def field(name: str, value: bytes, more: bytes = b"") -> bytes:
    """One part of a multipart body with the boundary `b`."""
    return (
        (
            b'--b\r\ncontent-disposition: form-data; name="'
            + name.encode()
            + b'"'
            + more
            + b"\r\n\r\n"
        )
        + value
        + b"\r\n"
    )


@pytest.mark.parametrize(
    ("headers", "content", "status", "said"),
    [
        pytest.param(MULTIPART, field("model", b"x") + b"--b--\r\n", 400, "missing", id="no file"),
        pytest.param(
            MULTIPART,
            field("file", base64.b64encode(SPEECH)) + b"--b--\r\n",
            400,
            "is text",
            id="file as text",
        ),
        pytest.param(
            MULTIPART,
            2 * field("file", SPEECH, b'; filename="a"') + b"--b--\r\n",
            400,
            "Too many files",
            id="two files",
        ),
        pytest.param(MULTIPART, b"no multipart", 400, "multipart", id="no multipart"),
        pytest.param(MULTIPART, b"", 400, "multipart", id="empty body"),
        pytest.param(
            MULTIPART, field("file", SPEECH, b'; filename="a"')[:-1000], 400, "multipart", id="cut"
        ),
        pytest.param(
            {"content-type": "multipart/form-data"}, b"x", 400, "boundary", id="no boundary"
        ),
        pytest.param(
            MULTIPART,
            field("prompt", b"x" * (12 * 1024 * 1024 + 1)) + b"--b--\r\n",
            400,
            "at 'prompt'",
            id="huge text field",
        ),
        pytest.param(
            MULTIPART,
            3 * field("prompt", b"x" * (5 * 1024 * 1024)) + b"--b--\r\n",
            400,
            "in total",
            id="huge text fields",
        ),
        pytest.param({"content-type": "application/json"}, b"{}", 400, "input_audio", id="JSON"),
        pytest.param({"content-type": "audio/wav"}, SPEECH, 415, "audio/wav", id="raw audio"),
        pytest.param({}, SPEECH, 415, "no content type", id="no content type"),
    ],
)
def test_a_body_that_is_no_form_with_a_file_is_refused(
    headers: dict[str, str], content: bytes, status: int, said: str, http: httpx2.Client
) -> None:
    """The message says what is missing."""
    answer = http.post(TRANSCRIPTIONS, content=content, headers=headers)
    assert answer.status_code == status
    assert said.lower() in error_of(answer)["message"].lower()


@pytest.fixture
def small(start_proxy: StartProxy) -> Iterator[httpx2.Client]:
    """A proxy with an upload limit of one million bytes."""
    with httpx2.Client(base_url=start_proxy(max_upload_bytes=1_000_000), timeout=60) as client:
        yield client


def test_an_announced_upload_over_the_limit_is_a_413(small: httpx2.Client) -> None:
    """A Content-Length above the limit is rejected; the message states the limit."""
    answer = post(small, data=bytes(5_000_000))
    assert answer.status_code == 413
    assert "1000000" in error_of(answer)["message"]


def test_an_upload_without_a_length_is_counted(small: httpx2.Client) -> None:
    """A chunked body is rejected once it exceeds the limit."""

    def chunks() -> Iterator[bytes]:
        yield field("file", b"", b'; filename="a"')[:-2]
        for _ in range(50):
            yield bytes(100_000)

    answer = small.post(TRANSCRIPTIONS, content=chunks(), headers=MULTIPART)
    assert answer.status_code == 413
    assert error_of(answer)["param"] == "file"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("POST", "/v1/audio/nothing", 404),
        ("GET", TRANSCRIPTIONS, 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/models/gpt-5", 404),
    ],
)
def test_unknown_routes_have_the_same_error_body(
    method: str, path: str, status: int, http: httpx2.Client
) -> None:
    """Errors from the framework have the same format."""
    answer = http.request(method, path)
    assert answer.status_code == status
    assert error_of(answer)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("engine", "status", "retry"),
    [
        pytest.param({"status": 400}, 400, None, id="refused"),
        pytest.param({"status": 401}, 502, "false", id="unauthorized"),
        pytest.param({"status": 404}, 502, "false", id="wrong model name"),
        pytest.param({"status": 429}, 503, None, id="busy"),
        pytest.param({"status": 500}, 502, "false", id="failed"),
        pytest.param({"status": 503}, 503, None, id="not ready"),
        pytest.param({"cut_after": 3}, 502, "false", id="cut off"),
        pytest.param({"fail_after": 3}, 502, "false", id="error in the stream"),
        pytest.param({"junk_after": 3}, 502, "false", id="junk in the stream"),
        pytest.param({"finish_reason": "abort"}, 502, "false", id="aborted"),
        pytest.param({"text": ""}, 502, "false", id="no text"),
        pytest.param({"text": "[{"}, 502, "false", id="no usable text"),
    ],
)
def test_faults_of_the_engine_are_told_apart(
    engine: Fields, status: int, retry: str | None, http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """Each fault has its own status and retry hint, and hides the engine's message."""
    for name, value in engine.items():
        setattr(fake_engine, name, value)
    answer = post(http)
    error = error_of(answer)
    assert answer.status_code == status
    assert "boom" not in error["message"]
    assert answer.headers.get("x-should-retry") == retry
    assert ("retry-after" in answer.headers) == (status == 503)


def test_an_engine_that_is_down_is_a_503(start_proxy: StartProxy) -> None:
    """Nothing listens at the engine's address: the client is told to retry."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        engine = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with httpx2.Client(base_url=start_proxy(asr_base_url=engine), timeout=60) as http:
            answer = post(http)
            health = http.get("/health")
    assert answer.status_code == health.status_code == 503
    assert error_of(answer)["code"] == "upstream_unavailable"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert "x-should-retry" not in answer.headers


@pytest.mark.parametrize("limit", ["upstream_read_timeout", "transcription_timeout"])
def test_an_engine_that_takes_too_long_is_a_504(
    limit: str, start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """A timeout is not retried, since the same work would time out again."""
    if limit == "upstream_read_timeout":
        fake_engine.stall_after = 2
    settings = {limit: 0.5 if limit == "upstream_read_timeout" else 1e-9}
    with httpx2.Client(base_url=start_proxy(**settings), timeout=30) as http:
        answer = post(http)
    assert answer.status_code == 504
    assert error_of(answer)["code"] == "upstream_timeout"
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("started", [False, True], ids=["before the answer", "in the answer"])
def test_a_bug_is_logged_and_hidden(started: bool, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected exception is a plain 500 with the request id, or closes a response that has
    begun."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and started:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        if scope["type"] == "http":
            raise ZeroDivisionError("/secret/path")

    with serve(RequestId(broken)) as url:
        if started:
            with pytest.raises(httpx2.RemoteProtocolError):
                httpx2.get(url, timeout=60)
        else:
            answer = httpx2.get(url, timeout=60)
            assert answer.status_code == 500
            error = error_of(answer)
            assert (error["type"], error["code"]) == ("server_error", "internal_error")
            assert answer.headers["x-request-id"] in error["message"]
    assert "ZeroDivisionError" in caplog.text


PROXY_WITH_LITTLE_ROOM = """
import resource
from vibevoice_proxy.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
main()
"""


def test_a_full_disk_is_a_503(tmp_path: Path) -> None:
    """A separate proxy process whose files may not exceed 2 MB returns 503."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROXY_WITH_LITTLE_ROOM],
        env={**os.environ, "API_PORT": "0"},
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    try:
        assert process.stderr is not None
        listening = (re.search(r"running on (http://\S+)", line) for line in process.stderr)
        url = next(match[1] for match in listening if match)
        answer = httpx2.post(
            url + TRANSCRIPTIONS, files={"file": ("a", wav(tone(200.0)))}, timeout=60
        )
    finally:
        process.terminate()
        process.communicate()
    assert answer.status_code == 503
    assert error_of(answer)["code"] == "storage_full"
    assert "retry-after" in answer.headers


def test_wrong_settings_are_told_at_the_start(tmp_path: Path) -> None:
    """The process exits at once and names the setting, without a stack trace."""
    process = subprocess.run(
        [sys.executable, "-m", "vibevoice_proxy"],
        env={**os.environ, "API_PORT": "high"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert process.returncode == 1
    assert "API_PORT" in process.stderr
    assert "Traceback" not in process.stderr
