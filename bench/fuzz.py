"""Hostile inputs against the proxy: damaged audio, broken forms, slow and vanishing clients.

    python -m bench.fuzz --inputs 5000 --seed 1

starts the proxy before an engine that answers everything, so that any 5xx is the proxy's own fault,
and prints what was answered, how long it took at most, and the proxy's memory before and after.
Exit code 1 when an input got a 5xx, no answer, or the proxy is not well afterwards. The same seed
gives the same inputs.
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
"""Seconds after which an input counts as a hang; more than any limit of the proxy here."""
LIMITS = {"VIBEVOICE_DECODE_TIMEOUT": "20", "VIBEVOICE_UPLOAD_TIMEOUT": "2"}


@dataclass
class Figures:
    """What became of the inputs."""

    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(kind of input, status or what came in its place) → how often."""
    longest: float = 0.0
    """Seconds."""
    faults: list[str] = field(default_factory=list)
    """Inputs that got a 5xx or nothing, so that they can be made again."""

    def note(self, kind: str, name: str, status: str, seconds: float) -> None:
        """One input has been answered."""
        self.statuses[kind, status] += 1
        self.longest = max(self.longest, seconds)
        if status.startswith("5") or status == "none":
            self.faults.append(f"{name}: {status} after {seconds:.1f} s")


def post(url: str, content_type: str, body: bytes) -> str:
    """The status of a transcription with this body."""
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
    """The status of a transcription of `data`; `error` for a stream that ended in one."""
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
    """A client that is gone in the middle, or stops sending and waits for what comes of it: then
    the head of its request is whole, since uvicorn waits for that without end."""
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
    """Send one input and note what came of it."""
    started = time.monotonic()
    try:
        status = send()
    except httpx2.TimeoutException:
        status = "none"
    except (httpx2.TransportError, OSError) as error:
        status = f"5 connection: {type(error).__name__}"
    figures.note(kind, name, status, time.monotonic() - started)


def inputs(seed: int, count: int, url: str, figures: Figures) -> Iterator[Callable[[], None]]:
    """`count` inputs, each as something to be called: three of four damaged audio."""
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
    """Requests that schemathesis makes up from the proxy's own OpenAPI description."""
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
    """The status of a request of schemathesis's."""
    return str(case.call(base_url=url, timeout=TIMEOUT).status_code)


def main() -> int:
    parser = argparse.ArgumentParser(description="Hostile inputs against the proxy.")
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--described", type=int, default=50, help="requests for each route")
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
    print(f"proxy and engine {'well' if well else 'NOT WELL'}, {len(figures.faults)} faults")
    for fault in figures.faults[:50]:
        print(f"  {fault}")
    return 0 if well and not figures.faults else 1


if __name__ == "__main__":
    sys.exit(main())
