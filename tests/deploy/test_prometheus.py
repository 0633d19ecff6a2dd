"""A real Prometheus scrapes real proxies and the real engine under load and during faults. Every
panel of the dashboard shows data, and alerts fire only when something is wrong."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest
from scripts.stack import ROOT, free_port
from tests.support.fakes import TRANSCRIPTIONS
from tests.support.metrics import samples
from tests.support.monitoring import Prometheus, panel_queries, running_prometheus
from tests.support.processes import START_SECONDS, nobody, proxy_process, running, wait_for
from tests.support.realtime import TRANSCRIPTION, session

pytestmark = pytest.mark.engine

DIGITS = (ROOT / "samples" / "one-speaker.wav").read_bytes()
"""Bytes per second of audio in realtime sessions: 24 kHz, 16 bits."""
WAV_HEADER = 44
"""Bytes."""
SPEECH = {"model": "tts-1", "input": "The dashboard should show this.", "voice": "alloy"}
CALM_SECONDS = 12
"""Longer than the error rate's window plus its `for`."""
SLOTS = 4
"""More than the calm load takes, including those that are released just after the response."""


@dataclass
class Stack:
    """The processes under test."""

    prometheus: Prometheus
    lonely: str
    """A proxy with the light recognizer and eSpeak whose engine is down."""
    process: psutil.Process
    """The process of that proxy."""
    whole: str
    """A proxy with an engine."""


@pytest.fixture(scope="module")
def stack(engine_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All processes start together, as with `compose up`, so Prometheus sees the proxies load."""
    folder = tmp_path_factory.mktemp("prometheus")
    with ExitStack() as exits:
        port = free_port()
        lonely = f"http://127.0.0.1:{port}"
        environ = {
            "API_PORT": str(port),
            "ASR_BASE_URL": nobody(),
            "VIBEVOICE_LIGHT": "on",
            "VIBEVOICE_LIGHT_WORKERS": "1",
            "TTS_MODEL_TYPE": "espeak",
            "VIBEVOICE_MAX_CONCURRENCY": str(SLOTS),
            "VIBEVOICE_MAX_QUEUE": "0",
        }
        command = [sys.executable, "-m", "vibevoice_proxy"]
        live = f"{lonely}/health/live"
        process = exits.enter_context(
            running(
                "a", command, live, folder / "a", START_SECONDS, environ={**os.environ, **environ}
            )
        )
        _, whole = exits.enter_context(
            proxy_process(
                folder / "b", ASR_BASE_URL=engine_url, VIBEVOICE_LIGHT="off", TTS_MODEL_TYPE="off"
            )
        )
        targets = {"proxy": [lonely, whole], "engine": [engine_url]}
        prometheus = exits.enter_context(running_prometheus(folder, targets))
        yield Stack(prometheus, lonely, psutil.Process(process.pid), whole)


def transcribe(url: str, model: str) -> int:
    """Send a request and return its status."""
    form = {"model": model}
    files = {"file": ("digits.wav", DIGITS)}
    return httpx2.post(url + TRANSCRIPTIONS, data=form, files=files, timeout=60).status_code


def speak(url: str) -> int:
    """Send a request and return its status."""
    return httpx2.post(f"{url}/v1/audio/speech", json=SPEECH, timeout=60).status_code


async def converse(url: str) -> str:
    """Run a turn in a realtime session; return the type of the event that ends it."""
    async with session(url) as client:
        await client.update(turn_detection=None)
        await client.append(DIGITS[WAV_HEADER:])
        await client.connection.input_audio_buffer.commit()
        return (await client.until(f"{TRANSCRIPTION}.completed", "error"))[-1]["type"]


def hold_place(url: str) -> socket.socket:
    """A client that occupies a slot and sends no body."""
    connection = socket.create_connection(("127.0.0.1", urlsplit(url).port or 0))
    connection.sendall(
        f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: x\r\ncontent-length: 999\r\n"
        "content-type: multipart/form-data; boundary=x\r\n\r\n".encode()
    )
    return connection


def kill_worker(process: psutil.Process, module: str) -> None:
    [worker] = [child for child in process.children() if module in child.cmdline()]
    worker.kill()


def restarts(url: str, kind: str) -> float:
    """How often the proxy at `url` has restarted workers of a kind, as in the metric's name."""
    with httpx2.Client(base_url=url, timeout=60) as http:
        found = samples(http)
    name = f"vibevoice_{kind}_restarts_total"
    return sum(value for key, value in found.items() if key[0] == name)


def test_alerts_are_silent_while_nothing_fails(stack: Stack) -> None:
    """While /health is 503 because an engine is down, requests succeed. In this faster time, models
    that load may be an alert; alerts.test.yml has the true time."""
    health = f"{stack.lonely}/health"

    def parts() -> dict[str, str]:
        return httpx2.get(health, timeout=60).json()["parts"]

    wait_for(lambda: parts()["light"] == parts()["espeak"] == "ok", START_SECONDS)
    wait_for(lambda: stack.prometheus.targets_up() == {"proxy", "engine"})
    wait_for(lambda: not stack.prometheus.alerts())
    calm, end = time.time(), time.monotonic() + CALM_SECONDS
    with ThreadPoolExecutor() as threads:
        while time.monotonic() < end:
            found = [
                threads.submit(transcribe, stack.lonely, "whisper-1"),
                threads.submit(transcribe, stack.whole, "vibevoice"),
                threads.submit(speak, stack.lonely),
            ]
            talk = threads.submit(asyncio.run, converse(stack.lonely))
            assert [one.result() for one in found] == [200, 200, 200]
            assert talk.result() == f"{TRANSCRIPTION}.completed"
            assert httpx2.get(health, timeout=60).status_code == 503
    assert stack.prometheus.history("ALERTS{alertstate='firing'}", calm) == []


def test_alerts_fire_when_requests_fail(stack: Stack) -> None:
    """Requests to the engine that is down get 503, and clients without a slot get 429."""
    wanted = {"VibeVoiceErrorRate": "firing", "VibeVoiceTurnsAway": "firing"}

    def provoke() -> bool:
        with ExitStack() as held:
            for _ in range(SLOTS):
                held.enter_context(hold_place(stack.lonely))
            wait_for(lambda: transcribe(stack.lonely, "vibevoice") == 429)
        wait_for(lambda: transcribe(stack.lonely, "vibevoice") == 503)
        return wanted.items() <= stack.prometheus.alerts().items()

    wait_for(provoke, 300)
    assert transcribe(stack.lonely, "whisper-1") == 200


def test_every_panel_shows_something(stack: Stack) -> None:
    """Every panel shows data after one worker of each kind was killed. GPU panels are excluded,
    since there is no GPU."""
    for module, kind, request in (
        ("vibevoice_light.worker", "light_worker", lambda: transcribe(stack.lonely, "whisper-1")),
        ("vibevoice_tts.worker", "speech_worker", lambda: speak(stack.lonely)),
    ):
        kill_worker(stack.process, module)
        wait_for(lambda kind=kind: restarts(stack.lonely, kind) == 1)
        wait_for(lambda request=request: request() == 200)

    def empty() -> set[str]:
        return {
            f"{panel}: {query}"
            for panel, query in panel_queries()
            if "DCGM_" not in query and not stack.prometheus.history(query)
        }

    wait_for(lambda: not empty())
    losses = "max_over_time(vibevoice_light_worker_restarts_total[1h])"
    wait_for(lambda: max(stack.prometheus.history(losses)) == 1)


def test_an_alert_fires_when_a_proxy_is_gone(stack: Stack) -> None:
    """The alert fires after the proxy's process is terminated."""
    stack.process.terminate()
    wait_for(lambda: stack.prometheus.alerts().get("VibeVoiceDown") == "firing")
