"""deploy/nginx.conf in a real nginx: several servers behind one address, with large uploads."""

import io
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx2
import numpy as np
import openai
import pytest
import soundfile
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine, serve
from tests.support.nginx import start_nginx
from tests.support.processes import nobody, wait_for
from tests.support.recordings import tone, wav

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings

SPEECH = wav(tone(2.0))
Balance = Callable[..., str]


@pytest.fixture
def balance(tmp_path: Path) -> Iterator[Balance]:
    """Starts nginx in front of two servers, given their base URLs; returns nginx's base URL."""
    with ExitStack() as stack:
        yield lambda *servers: stack.enter_context(start_nginx(servers, tmp_path))


@pytest.fixture
def engines() -> Iterator[list[tuple[FakeEngine, str]]]:
    """Two engines and their base URLs."""
    with ExitStack() as stack:
        made = [FakeEngine() for _ in range(2)]
        yield [(engine, stack.enter_context(serve(engine.app()))) for engine in made]
        for engine in made:
            engine.gate.set()
            engine.release.set()


@pytest.fixture
def start_proxy() -> Iterator[Callable[[str], str]]:
    """Starts a proxy for an engine, given its base URL; returns the proxy's base URL."""
    with ExitStack() as stack:

        def start(engine: str) -> str:
            settings = Settings(asr_base_url=engine, tts_model_type="off")
            return stack.enter_context(serve(create_app(settings)))

        yield start


def first_segment(engine: FakeEngine) -> int:
    """Number of deltas that contain the engine's first segment."""
    return engine.text.index("},") // engine.split + 2


def transcribe(url: str, audio: bytes = SPEECH, **fields: str) -> httpx2.Response:
    files = {"file": ("a.wav", audio)}
    return httpx2.post(url + TRANSCRIPTIONS, files=files, data=fields, timeout=600)


def test_requests_go_where_least_is_to_do(
    balance: Balance, engines: list[tuple[FakeEngine, str]], start_proxy: Callable[[str], str]
) -> None:
    """Each engine gets one of two simultaneous recordings."""
    for engine, _ in engines:
        engine.gate_after = 1
    url = start_proxy(balance(*(url for _, url in engines)))
    with ThreadPoolExecutor(2) as threads:
        answers = threads.map(transcribe, [url, url])
        wait_for(lambda: [engine.asked for engine, _ in engines] == [1, 1])
        for engine, _ in engines:
            engine.gate.set()
        assert [answer.status_code for answer in answers] == [200, 200]


def test_a_dead_server_costs_no_request(
    balance: Balance, engines: list[tuple[FakeEngine, str]], start_proxy: Callable[[str], str]
) -> None:
    """The unreachable server gets no requests, and the other one gets all."""
    engine, url = engines[0]
    proxy = start_proxy(balance(nobody(), url))
    assert [transcribe(proxy).status_code for _ in range(4)] == [200] * 4
    assert engine.asked == 4


def test_without_any_server_a_client_may_come_again(balance: Balance) -> None:
    """The error is OpenAI-style and says when to retry."""
    answer = transcribe(balance(nobody(), nobody()))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}


def test_a_request_that_was_sent_is_not_sent_again(balance: Balance) -> None:
    """It may have cost minutes of work; the client is told not to retry."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:

        def read_and_hang_up() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)

        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        url = balance(address, address)
        first = thread.submit(read_and_hang_up)
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
            with pytest.raises(openai.InternalServerError) as raised:
                client.audio.transcriptions.create(file=SPEECH, model="x")
        first.result()
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # no other connection waits
            server.accept()
    assert (raised.value.status_code, raised.value.code) == (502, "upstream_error")


def test_events_pass_as_they_are_made(
    balance: Balance, engines: list[tuple[FakeEngine, str]], start_proxy: Callable[[str], str]
) -> None:
    """nginx forwards the first segment while the engine is still generating."""
    engine, engine_url = engines[0]
    engine.gate_after = first_segment(engine)
    url = balance(start_proxy(engine_url), nobody())
    form = {"files": {"file": SPEECH}, "data": {"stream": "true"}, "timeout": 60}
    with httpx2.stream("POST", url + TRANSCRIPTIONS, **form) as answer:
        lines = (line for line in answer.iter_lines() if line.startswith("data: "))
        first = json.loads(next(lines).removeprefix("data: "))
        assert first["delta"] == "Good morning."
        engine.gate.set()
        rest = list(lines)
    assert json.loads(rest[-1].removeprefix("data: "))["type"] == "transcript.text.done"


def test_a_client_that_leaves_stops_the_engine(
    balance: Balance, engines: list[tuple[FakeEngine, str]], start_proxy: Callable[[str], str]
) -> None:
    """nginx closes the upstream connection when the client disconnects."""
    engine, url = engines[0]
    engine.stall_after = first_segment(engine)
    proxy = start_proxy(balance(url, nobody()))
    form = {"files": {"file": SPEECH}, "data": {"stream": "true"}, "timeout": 60}
    with httpx2.stream("POST", proxy + TRANSCRIPTIONS, **form) as answer:
        assert next(answer.iter_lines()).startswith("data: ")
    wait_for(engine.closed.is_set)


def test_hundreds_of_megabytes_pass_and_are_not_stored(
    balance: Balance,
    engines: list[tuple[FakeEngine, str]],
    start_proxy: Callable[[str], str],
    tmp_path: Path,
) -> None:
    """More than 200 MB of WAV reach the proxy through nginx, which stores no copy on disk."""
    engine, engine_url = engines[0]
    url = balance(start_proxy(engine_url), nobody())
    seconds = 285
    samples = np.tile(tone(1.0, 48_000), seconds)
    file = io.BytesIO()
    soundfile.write(file, np.stack([samples, samples], 1), 48_000, "DOUBLE", format="WAV")
    audio = file.getvalue()
    assert len(audio) > 200 * 2**20
    answer = transcribe(url, audio, response_format="verbose_json")
    assert answer.status_code == 200, answer.text
    assert answer.json()["duration"] == seconds
    assert engine.audio == [(seconds * 24_000, 24_000, 1)]
    assert "temporary file" not in (tmp_path / "nginx.log").read_text()


async def test_realtime_sessions(balance: Balance, start_proxy: Callable[[str], str]) -> None:
    """A WebSocket passes through nginx in both directions."""
    url = balance(start_proxy(nobody()))
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none")
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        assert (await connection.recv()).type == "session.created"
        await connection.input_audio_buffer.clear()
        assert (await connection.recv()).type == "input_audio_buffer.cleared"
