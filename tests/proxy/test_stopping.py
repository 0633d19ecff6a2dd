"""A proxy that is shutting down, as its clients see it."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import openai
import pytest
from tests.support.fakes import FakeEngine, serve
from tests.support.processes import proxy_process, wait_for
from tests.support.recordings import tone, wav
from tests.support.uploads import start_upload

pytest_plugins = ("tests.support.proxy_fixtures",)

SPEECH = wav(tone(2.0))
HEAD = (
    b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n"
    b"content-type: multipart/form-data; boundary=x\r\n\r\n"
    b'--x\r\ncontent-disposition: form-data; name="file"\r\n\r\n'
)


@contextmanager
def stopping(
    tmp_path: Path, fake_engine: FakeEngine, grace: int = 30, *, stream: str = "false"
) -> Iterator[tuple[str, socket.socket]]:
    """The URL of a proxy that is shutting down with a request in flight, and that request's
    connection."""
    fake_engine.stall_after = len(fake_engine.text) // fake_engine.split - 2
    with (
        serve(fake_engine.app()) as engine,
        proxy_process(
            tmp_path / "log",
            killed=True,
            ASR_BASE_URL=engine,
            TTS_MODEL_TYPE="off",
            VIBEVOICE_SHUTDOWN_GRACE=str(grace),
        ) as (process, url),
        start_upload(url, SPEECH, stream=stream) as connection,
    ):
        wait_for(lambda: fake_engine.asked)
        if stream == "true":
            connection.recv(1, socket.MSG_PEEK)  # the response has begun
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: "shutting down" in (tmp_path / "log").read_text())
        yield url, connection
        fake_engine.release.set()
        assert process.wait(30) in (0, -signal.SIGTERM)
    assert "Traceback" not in (tmp_path / "log").read_text()


def check_refusal(answer: httpx2.Response) -> None:
    """Check for an OpenAI-style 503 after which the connection is closed."""
    assert answer.status_code == 503
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.json()["error"]["code"] == "server_stopping"
    assert answer.headers["connection"] == "close"
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["x-request-id"].startswith("req_")


def read(connection: socket.socket) -> httpx2.Response:
    """The response on a bare connection, up to its end."""
    head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = [tuple(line.split(": ", 1)) for line in lines[1:]]
    return httpx2.Response(int(lines[0].split()[1]), headers=headers, content=body)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/nowhere"])
def test_whoever_comes_later_is_sent_elsewhere(
    path: str, tmp_path: Path, fake_engine: FakeEngine
) -> None:
    """Health checks get a 503 too, so a load balancer removes the proxy."""
    with stopping(tmp_path, fake_engine) as (url, _):
        check_refusal(httpx2.get(url + path, timeout=60))


def test_an_upload_that_comes_later_hears_why(tmp_path: Path, fake_engine: FakeEngine) -> None:
    """The official client reads the response while it is still sending."""
    with (
        stopping(tmp_path, fake_engine) as (url, _),
        openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client,
        pytest.raises(openai.InternalServerError, match="stopping") as raised,
    ):
        client.audio.transcriptions.create(file=bytes(30_000_000), model="x")
    check_refusal(raised.value.response)  # type: ignore[arg-type]


def test_what_is_in_flight_is_finished(tmp_path: Path, fake_engine: FakeEngine) -> None:
    """The response is complete and announces the end of the connection."""
    with stopping(tmp_path, fake_engine) as (_, connection):
        fake_engine.release.set()
        answer = read(connection)
    assert answer.json()["text"] == "Good morning. Hello."
    assert answer.headers["connection"] == "close"


def test_who_is_cut_off_before_the_answer_gets_a_503(
    tmp_path: Path, fake_engine: FakeEngine
) -> None:
    """The response has the request id from the log; the engine stops working on the request."""
    with stopping(tmp_path, fake_engine, grace=0) as (_, connection):
        answer = read(connection)
        wait_for(lambda: fake_engine.at_once == 0)
    check_refusal(answer)
    assert answer.headers["x-request-id"] in (tmp_path / "log").read_text()


def test_who_is_cut_off_in_a_stream_gets_an_error(tmp_path: Path, fake_engine: FakeEngine) -> None:
    """The error event is the last one, as after any other error during a stream."""
    with stopping(tmp_path, fake_engine, grace=0, stream="true") as (_, connection):
        answer = read(connection)
    events = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    assert json.loads(events[-1][6:])["error"]["code"] == "server_stopping"


def test_who_is_cut_off_in_the_upload_gets_a_503(tmp_path: Path, fake_engine: FakeEngine) -> None:
    """A client that waits or keeps sending gets the reason."""
    with (
        serve(fake_engine.app()) as engine,
        proxy_process(
            tmp_path / "log",
            killed=True,
            ASR_BASE_URL=engine,
            TTS_MODEL_TYPE="off",
            VIBEVOICE_SHUTDOWN_GRACE="0",
        ) as (process, url),
        socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=20) as uploading,
    ):
        uploading.sendall(HEAD + bytes(100_000))
        wait_for(lambda: "vibevoice_in_flight 1.0" in httpx2.get(f"{url}/metrics", timeout=60).text)
        process.send_signal(signal.SIGTERM)
        check_refusal(read(uploading))
