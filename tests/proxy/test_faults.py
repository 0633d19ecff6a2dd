"""Crashes and stalls on either side: no request hangs and nothing is left behind."""

import json
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from errno import ENOSPC, ENOTCONN
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import numpy as np
import pytest
import soundfile
from scripts.stack import answers, free_port
from tests.support.engine import TINY, completed_by_engine, in_engine, start_engine
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine, StartProxy, serve
from tests.support.open_files import open_files
from tests.support.processes import fake_engine_process, proxy_process, wait_for
from tests.support.recordings import tone, wav
from tests.support.uploads import start_upload
from tests.support.workers import children

from vibevoice_proxy.app import create_app
from vibevoice_proxy.errors import UpstreamUnavailable
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.transcription.upstream import transport_errors

pytest_plugins = ("tests.support.proxy_fixtures",)

SPEECH = wav(tone(2.0))
ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
_SEGMENTS = json.loads((SAMPLES / "one-speaker.json").read_text())["segments"]
GREETINGS = "Good morning. Hello."
DIGITS = " ".join(segment["text"] for segment in _SEGMENTS)


@pytest.fixture
def engine_server(fake_engine: FakeEngine) -> Iterator[str]:
    """The base URL of the fake engine, for a proxy in another process."""
    with serve(fake_engine.app()) as url:
        yield url


class Client(threading.Thread):
    """A transcription in a thread: its response, or the error instead."""

    def __init__(self, url: str, data: bytes = SPEECH, **fields: str) -> None:
        super().__init__(daemon=True)
        self.answer: httpx2.Response | None = None
        self.error: Exception | None = None
        self._url, self._data, self._fields = url + TRANSCRIPTIONS, data, fields
        self.start()

    def run(self) -> None:
        try:
            files = {"file": ("a", self._data)}
            self.answer = httpx2.post(self._url, data=self._fields, files=files, timeout=300)
        except httpx2.HTTPError as error:
            self.error = error


def test_a_shutdown_finishes_what_is_in_flight(
    engine_server: str, fake_engine: FakeEngine, tmp_path: Path
) -> None:
    """A proxy that is shutting down finishes its current request, then exits."""
    fake_engine.stall_after = 2
    with proxy_process(tmp_path / "log", killed=True, ASR_BASE_URL=engine_server) as (process, url):
        client = Client(url)
        wait_for(lambda: fake_engine.asked)
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: not answers(f"{url}/health/live"))
        assert process.poll() is None
        fake_engine.release.set()
        client.join(30)
        assert client.answer is not None
        assert client.answer.json()["text"] == "Good morning. Hello."
        assert process.wait(30) in (0, -signal.SIGTERM)


def test_a_shutdown_ends_after_its_grace_time(
    engine_server: str, fake_engine: FakeEngine, tmp_path: Path
) -> None:
    """Unfinished requests are aborted, in the engine as well; the client notices immediately."""
    fake_engine.stall_after = 2
    settings = {"ASR_BASE_URL": engine_server, "VIBEVOICE_SHUTDOWN_GRACE": "1"}
    with proxy_process(tmp_path / "log", killed=True, **settings) as (process, url):
        client = Client(url)
        wait_for(lambda: fake_engine.asked)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        client.join(30)
        assert client.error is not None or (client.answer and client.answer.status_code >= 500)
        wait_for(lambda: fake_engine.at_once == 0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_killed_proxy_leaves_no_file(
    engine_server: str, fake_engine: FakeEngine, tmp_path: Path
) -> None:
    """Files for uploads and decoded audio are unnamed from the start, so a kill leaves nothing
    behind."""
    spool = tmp_path / "spool"
    spool.mkdir()
    fake_engine.stall_after = 2
    settings = {"ASR_BASE_URL": engine_server, "VIBEVOICE_SPOOL_DIR": str(spool)}
    with proxy_process(tmp_path / "log", killed=True, **settings) as (process, url):
        Client(url, wav(tone(120.0)))
        wait_for(lambda: fake_engine.asked)
        with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)) as uploading:
            uploading.sendall(
                b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n"
                b"content-type: multipart/form-data; boundary=x\r\n\r\n--x\r\ncontent-disposition: "
                b'form-data; name="file"; filename="a"\r\n\r\n' + bytes(3_000_000)
            )
            wait_for(
                lambda: sum(path.startswith(str(spool)) for path in open_files(process.pid)) == 3
            )
            assert list(spool.iterdir()) == []
            process.kill()
            process.wait()
    assert list(spool.iterdir()) == []


@pytest.mark.parametrize("part", ["in the head", "in the file"])
def test_a_client_that_stops_sending_is_sent_away(part: str, start_proxy: StartProxy) -> None:
    """A client that pauses too long loses its slot to others and gets a 408."""
    url = start_proxy(upload_timeout=1, max_concurrency=1, max_queue=0)
    head = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = head[:20] if part == "in the head" else head + bytes(2_000_000)
    with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=20) as uploading:
        uploading.sendall(
            b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n"
            b"content-type: multipart/form-data; boundary=x\r\n\r\n" + body
        )
        answer = uploading.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer
    # This client may pause too long as well.
    wait_for(
        lambda: (
            httpx2.post(url + TRANSCRIPTIONS, files={"file": ("a", SPEECH)}, timeout=60).is_success
        )
    )


@pytest.mark.parametrize("at", range(0, 9))
def test_a_client_may_be_gone_at_any_moment(
    at: int, start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """A connection lost anywhere in the upload releases its slot and does not reach the engine."""
    url = start_proxy(max_concurrency=1, max_queue=0)
    request = httpx2.Request("POST", url + TRANSCRIPTIONS, files={"file": ("a", wav(tone(30.0)))})
    body = request.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)) as connection:
        connection.sendall(f"POST {TRANSCRIPTIONS} HTTP/1.1\r\n{head}\r\n".encode())
        connection.sendall(body[: len(body) * at // 9])
    wait_for(lambda: "vibevoice_in_flight 0.0" in httpx2.get(url + "/metrics", timeout=60).text)
    assert fake_engine.asked == 0


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbye!", id="no events"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", id="no content"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01", id="TLS"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n", id="redirect"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: \xff\xfe\x00\n\n",
            id="no UTF-8",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: []\n\n"
            b'data: {"choices":[{"delta":null}]}\n\n',
            id="wrong types",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"content-encoding: gzip\r\n\r\nx",
            id="false encoding",
        ),
    ],
)
@pytest.mark.parametrize("stream", ["false", "true"])
def test_garbage_from_the_engine_is_a_502(
    answer: bytes, stream: str, start_proxy: StartProxy
) -> None:
    """Whatever a broken engine sends, the client gets a clean error and is told not to retry."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_say, args=(server, answer), daemon=True)
        thread.start()
        url = start_proxy(asr_base_url=f"http://127.0.0.1:{server.getsockname()[1]}")
        response = httpx2.post(
            url + TRANSCRIPTIONS,
            data={"stream": stream},
            files={"file": ("a", SPEECH)},
            timeout=30,
        )
    assert response.status_code == 502
    assert response.headers["x-should-retry"] == "false"
    assert response.json()["error"]["type"] == "server_error"


def _say(server: socket.socket, answer: bytes) -> None:
    """Read a complete request and send `answer`."""
    connection, _ = server.accept()
    with connection, connection.makefile("rb") as request:
        length = 0
        while (line := request.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        request.read(length)
        connection.sendall(answer)


def test_an_engine_that_is_back_is_used_at_once(
    start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """After an outage, the proxy uses the engine again as soon as it responds."""
    port = free_port()
    url = start_proxy(asr_base_url=f"http://127.0.0.1:{port}")
    assert (
        httpx2.post(url + TRANSCRIPTIONS, files={"file": ("a", SPEECH)}, timeout=60).status_code
        == 503
    )
    with ExitStack() as servers:
        servers.enter_context(serve(fake_engine.app(), port))
        assert (
            httpx2.post(url + TRANSCRIPTIONS, files={"file": ("a", SPEECH)}, timeout=60).status_code
            == 200
        )
    assert (
        httpx2.post(url + TRANSCRIPTIONS, files={"file": ("a", SPEECH)}, timeout=60).status_code
        == 503
    )
    with serve(fake_engine.app(), port):
        assert (
            httpx2.post(url + TRANSCRIPTIONS, files={"file": ("a", SPEECH)}, timeout=60).status_code
            == 200
        )


def test_a_connection_that_the_engine_closes_at_once_is_a_503() -> None:
    """httpcore2 lets the operating system's error through if the connection it has just opened is
    gone already."""
    with pytest.raises(UpstreamUnavailable), transport_errors():
        raise OSError(ENOTCONN, "Transport endpoint is not connected")
    with pytest.raises(OSError, match="No space left"), transport_errors():
        raise OSError(ENOSPC, "No space left on device")


def minutes_of_speech() -> bytes:
    """Five minutes of digits: the engine needs over 5 s of CPU time for them."""
    samples, rate = soundfile.read(SAMPLES / "one-speaker.wav", dtype="float32")
    return wav(np.tile(samples, round(300 / (len(samples) / rate))), rate)


@pytest.mark.engine
@pytest.mark.parametrize("stream", ["false", "true"])
@pytest.mark.parametrize("clients", [1, 8])
def test_clients_that_hang_up_leave_the_engine_idle(
    clients: int, stream: str, engine_url: str
) -> None:
    """The real engine's own request count drops to zero when the clients are gone, and it has not
    completed all their requests: it may complete the first while the last is still sent."""
    data = minutes_of_speech()
    wait_for(lambda: in_engine(engine_url) == 0, 120)
    completed = completed_by_engine(engine_url)
    with serve(create_app(Settings(asr_base_url=engine_url))) as url:
        with ExitStack() as connections:
            for _ in range(clients):
                connections.enter_context(start_upload(url, data, stream=stream))
            wait_for(lambda: in_engine(engine_url) >= 1, 120)
        wait_for(lambda: in_engine(engine_url) == 0)
        assert completed_by_engine(engine_url) - completed < clients
        wait_for(lambda: "vibevoice_in_flight 0.0" in httpx2.get(url + "/metrics", timeout=60).text)


@pytest.mark.parametrize(
    ("start", "text"),
    [
        pytest.param(partial(fake_engine_process, seconds=1.0), GREETINGS, id="fake"),
        pytest.param(partial(start_engine, TINY), DIGITS, id="real", marks=pytest.mark.engine),
    ],
)
def test_an_engine_killed_under_32_clients(
    start: Callable[..., AbstractContextManager[str]], text: str, tmp_path: Path
) -> None:
    """Every client gets a correct transcript or a clean error, none hangs, and the service recovers
    by itself when the engine is back."""
    port = free_port()
    data = (SAMPLES / "one-speaker.wav").read_bytes()
    with serve(create_app(Settings(asr_base_url=f"http://127.0.0.1:{port}"))) as url:
        with start(tmp_path / "first", port=port, killed=True):
            clients = [Client(url, data, stream="false") for _ in range(31)]
            wait_for(lambda: any(client.answer for client in clients), 120)
            # A quick engine may have answered all by now, but not one that comes while it is held.
            (engine,) = children(lambda command: str(port) in command)
            engine.suspend()
            clients.append(Client(url, data, stream="false"))
        for client in clients:
            client.join(120)
        outcomes = []
        for client in clients:
            assert client.answer is not None, f"no answer: {client.error!r}"
            outcomes.append(client.answer.status_code)
            if client.answer.status_code == 200:
                assert client.answer.json()["text"] == text
            else:
                assert client.answer.status_code in (502, 503)
                assert client.answer.json()["error"]["type"] == "server_error"
        assert outcomes[-1] != 200
        with fake_engine_process(tmp_path / "second", port=port):
            back = httpx2.post(url + TRANSCRIPTIONS, files={"file": ("a", data)}, timeout=120)
        assert (back.status_code, back.json()["text"]) == (200, GREETINGS)
