"""Measures what clients see when processes in containers are killed or stopped during requests.

    python -m bench.containers      # needs Docker, root, and the images of docker-compose.cpu.yml

Each row is one fault in the middle of a long request, while another client sends short requests,
one at a time. Processes are killed from the host, as by the kernel when memory runs out: Docker
treats `docker kill` as a manual stop and does not restart the container.
"""

import argparse
import io
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
import numpy as np
import soundfile
from scripts.stack import ROOT, free_port

COMPOSE = ("docker", "compose", "-f", "docker/docker-compose.cpu.yml")
PAUSE_SECONDS = 0.1
TIMEOUT_SECONDS = 120.0
SENTENCE = "The person you are calling is not at their desk. "


def docker(*arguments: str) -> str:
    """Run docker and return its output."""
    command = [*COMPOSE, *arguments[1:]] if arguments[0] == "compose" else ["docker", *arguments]
    return subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def audio(name: str, seconds: float) -> bytes:
    """A sample, repeated to a length of `seconds`."""
    samples, rate = soundfile.read(ROOT / "samples" / name, dtype="int16")
    times = max(1, round(seconds * rate / len(samples)))
    file = io.BytesIO()
    soundfile.write(file, np.tile(samples, times), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


@dataclass
class Work:
    """A type of request, in a short and a long form."""

    url: str
    part: str
    """Name of its component in /health."""
    short: dict[str, Any]
    long: dict[str, Any]
    path: str

    def ask(self, *, long: bool = False) -> str:
        """Send a request and return how it ended: its status and error code, or the connection
        error."""
        try:
            answer = httpx2.post(
                self.url + self.path, **(self.long if long else self.short), timeout=TIMEOUT_SECONDS
            )
        except httpx2.HTTPError as error:
            return type(error).__name__
        if answer.status_code == 200:
            return "200"
        return f"{answer.status_code} {answer.json()['error']['code']}"


@dataclass
class Watch:
    """The responses to a client that keeps sending short requests after a fault."""

    work: Work
    seen: Counter[str] = field(default_factory=Counter[str])
    served_after: float = 0.0

    def until_served(self, since: float, seconds: float = 180.0) -> None:
        """Send requests until three consecutive responses are 200."""
        in_a_row = 0
        while in_a_row < 3 and time.monotonic() < since + seconds:
            asked = time.monotonic()
            outcome = self.work.ask()
            if outcome == "200":
                in_a_row += 1
                if in_a_row == 1:
                    self.served_after = time.monotonic() - since
            else:
                in_a_row = 0
                self.seen[outcome] += 1
            time.sleep(max(0.0, PAUSE_SECONDS - (time.monotonic() - asked)))


def transcription(url: str, model: str, sample: str, seconds: float) -> Work:
    """Transcription requests for one model."""

    def form(length: float) -> dict[str, Any]:
        files = {"file": ("a.wav", audio(sample, length))}
        return {"files": files, "data": {"model": model}}

    part = "light" if model == "light" else "asr"
    return Work(url, part, form(0), form(seconds), "/v1/audio/transcriptions")


def speech(url: str) -> Work:
    """Speech requests for the light voice."""

    def body(text: str) -> dict[str, Any]:
        return {"json": {"model": "tts-1", "input": text, "voice": "alloy"}}

    return Work(url, "hibari", body("One."), body(SENTENCE * 60), "/v1/audio/speech")


def kill(service: str, what: str) -> Callable[[], None]:
    """A fault: kill -9 the process of a service whose command line contains `what`; empty means its
    first process."""

    def fault() -> None:
        rows = docker("top", docker("compose", "ps", "-q", service), "-eo", "pid,args").splitlines()
        found = [row.split(maxsplit=1)[0] for row in rows[1:] if what in row]
        os.kill(int(found[0]), signal.SIGKILL)

    return fault


def stop(service: str) -> Callable[[], None]:
    """A fault: docker compose stop, then start."""

    def fault() -> None:
        docker("compose", "stop", service)
        docker("compose", "start", service)

    return fault


def row(name: str, work: Work, fault: Callable[[], None]) -> str:
    """Inject a fault and return its row of the table."""
    during: list[str] = []
    busy = threading.Thread(target=lambda: during.append(work.ask(long=True)))
    busy.start()
    time.sleep(1.0)
    was_running = busy.is_alive()
    since, watch = time.monotonic(), Watch(work)
    begin = threading.Thread(target=fault)
    begin.start()
    watch.until_served(since)
    begin.join()
    busy.join()
    told = ", ".join(f"{count} × {outcome}" for outcome, count in watch.seen.items()) or "nothing"
    running = during[0] if was_running else f"{during[0]} (was done)"
    return f"| {name} | {running} | {told} | {watch.served_after:.1f} |"


def faults(url: str) -> dict[str, list[tuple[str, Work, Callable[[], None]]]]:
    """The faults to test for each service."""
    engine = transcription(url, "vibevoice", "two-speakers.wav", 50)
    light = transcription(url, "light", "conversation.flac", 600)
    voice = speech(url)
    return {
        "proxy": [
            ("proxy (PID 1), kill -9", light, kill("proxy", "-m vibevoice_proxy")),
            ("proxy, stopped and started", light, stop("proxy")),
            ("light recognizer's worker, kill -9", light, kill("proxy", "vibevoice_light.worker")),
            ("speech worker, kill -9", voice, kill("proxy", "vibevoice_tts.worker")),
        ],
        "engine": [
            ("launcher (PID 1), kill -9", engine, kill("engine", "vibevoice_vllm.launch")),
            ("vLLM's server, kill -9", engine, kill("engine", "vibevoice_vllm.engine")),
            ("vLLM's EngineCore, kill -9", engine, kill("engine", "EngineCore")),
            ("vLLM's worker, kill -9", engine, kill("engine", "Worker")),
            ("engine, stopped and started", engine, stop("engine")),
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.containers", description=__doc__)
    parser.add_argument("services", nargs="*", default=["proxy", "engine"])
    services: list[str] = parser.parse_args().services
    port = free_port()
    os.environ |= {"API_PORT": str(port), "VIBEVOICE_LIGHT": "on"}
    tried = faults(f"http://127.0.0.1:{port}")
    try:
        began = time.monotonic()
        docker("compose", "up", "--detach", "--wait")
        print(f"started in {time.monotonic() - began:.1f} s", flush=True)
        print("| fault | request in progress | failures after it | recovery, s |")
        print("| --- | --- | --- | --- |", flush=True)
        for service in services:
            for name, work, fault in tried[service]:
                print(row(name, work, fault), flush=True)
        for service in ("proxy", "engine"):
            began = time.monotonic()
            container = docker("compose", "ps", "-q", service)
            docker("compose", "stop", service)
            code = docker("inspect", "--format", "{{.State.ExitCode}}", container)
            print(f"{service}: stopped in {time.monotonic() - began:.1f} s, exit code {code}")
    finally:
        docker("compose", "down", "--volumes")


if __name__ == "__main__":
    main()
