"""Sends hostile inputs to the proxy: damaged audio, broken forms, slow and vanishing clients.

    python -m bench.fuzz --inputs 5000 --seed 1

Starts the proxy with an engine that answers everything, so any 5xx is the proxy's own fault. Prints
the responses, the longest response time, and the proxy's memory before and after. Exits with 1 if
an input got a 5xx or no response, or if the proxy is unhealthy afterwards. The same seed gives the
same inputs.
"""

import argparse
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx2
from scripts.stack import answers
from tests.support.fakes import TRANSCRIPTIONS

from bench.hostile import CONTAINERS, damaged_audio, hostile_form
from bench.servers import fake_engine, log_file

TIMEOUT = 60.0
"""Seconds after which an input counts as a hang; longer than all limits that the proxy has in this
benchmark."""
LIMITS = {"VIBEVOICE_DECODE_TIMEOUT": "20", "VIBEVOICE_UPLOAD_TIMEOUT": "2"}


@dataclass
class Figures:
    """The results of the inputs."""

    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(kind of input, status or the error instead of it) → count."""
    longest: float = 0.0
    """Seconds."""
    faults: list[str] = field(default_factory=list)
    """Inputs that got a 5xx or nothing, with what is needed to reproduce them."""

    def note(self, kind: str, name: str, status: str, seconds: float) -> None:
        """Record the response to an input."""
        self.statuses[kind, status] += 1
        self.longest = max(self.longest, seconds)
        if status.startswith("5") or status == "none":
            self.faults.append(f"{name}: {status} after {seconds:.1f} s")


def post(url: str, content_type: str, body: bytes) -> str:
    """The status of a transcription request with this body."""
    answer = httpx2.post(
        url + TRANSCRIPTIONS,
        content=body,
        headers={"content-type": content_type} if content_type else {},
        timeout=TIMEOUT,
    )
    if answer.status_code >= 400:
        message = answer.json()["error"]["message"]
        assert isinstance(message, str) and "Traceback" not in message
    return str(answer.status_code)


def post_audio(url: str, data: bytes, stream: bool) -> str:
    """The status of a transcription of `data`; `error` for a stream that ended with an error."""
    answer = httpx2.post(
        url + TRANSCRIPTIONS,
        data={"stream": str(stream), "response_format": "json"},
        files={"file": ("a", data)},
        timeout=TIMEOUT,
    )
    return (
        "error"
        if '"error"' in answer.text and answer.status_code == 200
        else str(answer.status_code)
    )


def vanish(url: str, rng: random.Random, recording: bytes) -> str:
    """A client that disconnects midway, or stops sending and waits for a response. In the latter
    case the request head is complete, because uvicorn waits for an incomplete one forever."""
    request = httpx2.Request("POST", url + TRANSCRIPTIONS, files={"file": ("a", recording)})
    body = request.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    message = f"POST {TRANSCRIPTIONS} HTTP/1.1\r\n{head}\r\n".encode() + body
    address = ("127.0.0.1", urlsplit(url).port or 0)
    with socket.create_connection(address, timeout=TIMEOUT) as connection:
        waits = rng.random() < 0.1
        least = message.index(b"\r\n\r\n") + 4 if waits else 1
        connection.sendall(message[: rng.randrange(least, len(message) + 1)])
        if waits:
            answer = connection.makefile("rb").readline()
            return answer.split()[1].decode() if answer else "closed"
    return "gone"


def run_one(kind: str, name: str, send: Callable[[], str], figures: Figures) -> None:
    """Send one input and record the result."""
    started = time.monotonic()
    try:
        status = send()
    except httpx2.TimeoutException:
        status = "none"
    except (httpx2.TransportError, OSError) as error:
        status = f"5 connection: {type(error).__name__}"
    figures.note(kind, name, status, time.monotonic() - started)


def inputs(seed: int, count: int, url: str, figures: Figures) -> Iterator[Callable[[], None]]:
    """`count` inputs as callables; three of four are damaged audio."""
    originals = {name: make() for name, make in CONTAINERS.items()}
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        chance = rng.random()
        send: Callable[[], str]
        if chance < 0.75:
            label, data = damaged_audio(rng, originals)
            kind, send = "audio", partial(post_audio, url, data, rng.random() < 0.3)
        elif chance < 0.95:
            label, body = hostile_form(rng, originals["wav"])
            kind, send = "form", partial(post, url, label, body)
        else:
            kind, label = "vanishing", "upload"
            send = partial(vanish, url, rng, originals["wav"])
        yield partial(run_one, kind, f"{seed} {number} {kind} ({label})", send, figures)


def described_requests(url: str, count: int, figures: Figures) -> None:
    """Send requests that schemathesis generates from the proxy's own OpenAPI description."""
    import hypothesis
    import schemathesis

    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    limits = hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=[
            hypothesis.HealthCheck.too_slow,
            hypothesis.HealthCheck.data_too_large,
        ],
        phases=[hypothesis.Phase.generate],
    )
    for found in schema.get_all_operations():
        operation = found.ok()  # type: ignore[union-attr]
        if "speech" in operation.path or "voices" in operation.path:
            continue

        def ask(case: schemathesis.Case) -> None:
            name = f"{case.method} {case.path}"
            run_one("described", name, partial(call, url, case), figures)

        hypothesis.seed(0)(limits(hypothesis.given(case=operation.as_strategy())(ask)))()


def call(url: str, case: Any) -> str:
    """The status of a request from schemathesis."""
    return str(case.call(base_url=url, timeout=TIMEOUT).status_code)


def main() -> int:
    parser = argparse.ArgumentParser(description="Send hostile inputs to the proxy.")
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--described", type=int, default=50, help="requests per route")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=8, help="inputs at once")
    options = parser.parse_args()
    figures = Figures()
    with (
        fake_engine(log_file("fuzz"), **LIMITS) as (url, _, proxy),
        ThreadPoolExecutor(options.clients) as clients,
    ):
        warm = list(inputs(options.seed + 1, 200, url, Figures()))
        list(clients.map(lambda send: send(), warm))
        before = proxy.memory_info().rss
        started = time.monotonic()
        for _ in clients.map(
            lambda send: send(), inputs(options.seed, options.inputs, url, figures)
        ):
            pass
        described_requests(url, options.described, figures)
        seconds = time.monotonic() - started
        after = proxy.memory_info().rss
        well = answers(f"{url}/health")
        open_files = proxy.num_fds()
    total = sum(figures.statuses.values())
    print(
        f"{total} inputs (seed {options.seed}) in {seconds:.0f} s, longest {figures.longest:.2f} s"
    )
    for (kind, status), count in sorted(figures.statuses.items()):
        print(f"  {kind:10} {status:28} {count}")
    print(f"proxy memory {before / 2**20:.0f} → {after / 2**20:.0f} MiB, {open_files} files open")
    print(f"proxy and engine {'healthy' if well else 'NOT HEALTHY'}, {len(figures.faults)} faults")
    for fault in figures.faults[:50]:
        print(f"  {fault}")
    return 0 if well and not figures.faults else 1


if __name__ == "__main__":
    sys.exit(main())
