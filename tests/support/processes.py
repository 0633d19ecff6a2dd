"""Runs servers as separate processes, and waits for conditions."""

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx2
import psutil
from scripts.stack import ROOT, PartEnded, free_port, wait_until_ready

START_SECONDS = 300
"""How long a proxy may take to start on a busy machine."""
Found = TypeVar("Found")


def nobody() -> str:
    """A base URL at which nothing listens."""
    return f"http://127.0.0.1:{free_port()}"


def wait_for(condition: Callable[[], Found | None], seconds: float = 120.0) -> Found:
    """Wait until `condition` returns a true value, and return it; fails after a timeout, which is
    long enough for a busy machine."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {seconds:g} seconds")
        time.sleep(0.01)
    return found


def wait_until_idle(process: psutil.Process) -> None:
    """Wait until `process` has used no CPU for half a second. Fails once it has used half a second
    of CPU time since the call: a longer wait would also pass if the process did all of its work
    instead of stopping. CPU time does not depend on the load of the machine."""

    def used() -> float:
        times = process.cpu_times()
        return times.user + times.system

    before = last = used()
    while True:
        time.sleep(0.5)
        now = used()
        assert now - before < 0.5, "the process is still working"
        if now - last <= 0.01:  # the clock's resolution
            return
        last = now


def cpu_seconds(call: Callable[[], object], limit: float) -> float:
    """CPU time of `call` in this thread, for tests of how it grows with its input. A call that
    takes `limit` or longer gets two more attempts, and the fastest counts: a garbage collection
    or a busy machine delays one of them, a slow algorithm all three."""
    fastest = math.inf
    for _ in range(3):
        started = time.thread_time()
        call()
        fastest = min(fastest, time.thread_time() - started)
        if fastest < limit:
            break
    return fastest


def wait_until_it_speaks(base: str, *models: str) -> None:
    """Wait until the proxy at `base` is ready to speak with `models`."""

    def ready() -> bool:
        parts = httpx2.get(f"{base}/health", timeout=60).json()["parts"]
        return all(parts[model] == "ok" for model in models)

    wait_for(ready, START_SECONDS)


@contextmanager
def running(
    name: str,
    argv: Sequence[str | Path],
    health: str,
    log: Path,
    seconds: float,
    *,
    environ: Mapping[str, str],
    cwd: Path | None = None,
    killed: bool = False,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process until the block ends; the block starts once the URL `health` returns 200. Its
    output goes to `log`. At the end it is stopped, or, if `killed`, killed with all its children.

    Raises:
        RuntimeError: the process exited, or was not ready after `seconds`; the message has the end
            of its log.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, env=environ, stdout=output, stderr=subprocess.STDOUT, cwd=cwd
        )
    try:
        try:
            wait_until_ready(health, process, seconds=seconds)
        except PartEnded as error:
            tail = log.read_text(errors="replace")[-4000:]
            raise RuntimeError(f"{name} was not ready, {error}:\n{tail}") from error
        yield process
    finally:
        if killed:
            _kill(process)
        else:
            process.terminate()
        process.wait(60)


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
    except psutil.NoSuchProcess:
        pass
    process.kill()


@contextmanager
def fake_engine_process(
    log: Path, seconds: float = 0.0, *, port: int | None = None, killed: bool = False
) -> Iterator[str]:
    """A fake engine that takes the given number of seconds per response, on a free port by default;
    yields its base URL."""
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    with running(
        "the fake engine",
        [sys.executable, "-m", "tests.support.fakes", str(port), str(seconds)],
        f"{url}/health",
        log,
        START_SECONDS,
        environ=os.environ,
        cwd=ROOT,
        killed=killed,
    ):
        yield url


@contextmanager
def proxy_process(
    log: Path, *, killed: bool = False, **environ: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The proxy with these settings in addition to the inherited environment, and its base URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(
        "the proxy",
        [sys.executable, "-m", "vibevoice_proxy"],
        f"{url}/health",
        log,
        START_SECONDS,
        environ={**os.environ, "API_PORT": str(port), **environ},
        killed=killed,
    ) as process:
        yield process, url
