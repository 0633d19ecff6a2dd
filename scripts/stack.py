"""Starts the engine and the proxy as separate processes, for `make serve`, `make demo`, benchmarks,
and tests."""

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from scripts.shared_gpu import with_reserve
from vibevoice_core.addresses import local_url

ROOT = Path(__file__).resolve().parent.parent
EMBEDDED = str(ROOT / "models" / "tiny-asr")
ENGINE_SECONDS = 1800
"""Enough to load the largest model from a slow disk."""
PROXY_SECONDS = 660
"""Longer than the proxy takes to load the speech models."""
_ENGINE, _PROXY = "vibevoice_vllm.launch", "vibevoice_proxy"
_WORKERS = 8
"""Maximum number of processes that get different ports."""
STOP_SECONDS = 45
"""Longer than the start script takes to kill an engine that does not stop by itself."""


class PartEnded(Exception):
    """A process exited, or was not ready in time."""


class Parts(NamedTuple):
    """The processes of a stack."""

    engine: subprocess.Popen[bytes]
    proxy: subprocess.Popen[bytes]


def free_port() -> int:
    """A port on which nothing listens, below those that the kernel gives to other programs (32768
    and up on Linux): a server may take long to listen on it. For the same reason, processes of
    pytest-xdist, and what they start, get different ports."""
    first = 20_000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    while True:
        port = random.randrange(first, 32_768, _WORKERS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def answers(url: str) -> bool:
    """Whether `url` returns 200. Unlike httpx2, it uses almost no CPU while the process starts."""
    address = urlsplit(url)
    with contextlib.closing(HTTPConnection(address.netloc, timeout=10)) as connection:
        try:
            connection.request("GET", address.path)
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False


def wait_until_ready(url: str, *processes: subprocess.Popen[bytes], seconds: float) -> None:
    """Poll `url` until it returns 200. Raises PartEnded if a process exits or time runs out."""
    deadline = time.monotonic() + seconds
    while not answers(url):
        for process in processes:
            if process.poll() is not None:
                raise PartEnded(f"{_name(process)} exited with code {process.returncode}")
        if time.monotonic() > deadline:
            raise PartEnded(f"{url} was not ready after {seconds:.0f} s")
        time.sleep(0.3)


def _name(process: subprocess.Popen[bytes]) -> str:
    """What messages call a process."""
    words = [process.args] if isinstance(process.args, str | bytes | os.PathLike) else process.args
    program = os.fsdecode(words[2] if words[1:2] == ["-m"] else words[0])
    return {_ENGINE: "the engine", _PROXY: "the proxy"}.get(program, program)


@contextlib.contextmanager
def stack(
    model: str,
    api_port: int,
    asr_port: int,
    log: Path | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path = ROOT,
) -> Iterator[Parts]:
    """Run the engine on `asr_port` and the proxy on `api_port` until the block exits. Both are
    ready when it begins.

    Args:
        log: file for the output of both; None for the terminal.
        environ: environment variables in addition to the inherited ones.
        folder: where both run. Relative paths start there, and the proxy reads its `.env`.

    Raises:
        PartEnded: one of them exited, or was not ready in time.
        GpuError, ValueError: see `with_reserve`.
    """
    # The start script's own wait is disabled; this function waits for both parts.
    engine_options = ["--model-dir", model, "--port", str(asr_port), "--wait-ready-secs", "0"]
    environment = {**os.environ, **(environ or {})}
    environment |= {"API_PORT": str(api_port), "ASR_PORT": str(asr_port)}
    environment = with_reserve(environment)
    if model != EMBEDDED:
        # The proxy does not know what the engine serves; a real model gets all names.
        environment.setdefault("VIBEVOICE_LIGHT", "off")
    with contextlib.ExitStack() as cleanup:
        output = cleanup.enter_context(log.open("wb")) if log else None
        started: list[subprocess.Popen[bytes]] = []
        cleanup.callback(_stop, started)
        for module, options in (
            (_ENGINE, engine_options),
            (_PROXY, []),
        ):
            command = [sys.executable, "-m", module, *options]
            started.append(
                subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=folder)
            )
        parts = Parts(*started)
        wait_until_ready(f"http://127.0.0.1:{asr_port}/health", *parts, seconds=ENGINE_SECONDS)
        proxy = local_url(environment.get("API_HOST", ""), api_port)
        wait_until_ready(f"{proxy}/health", *parts, seconds=PROXY_SECONDS)
        yield parts


def _stop(parts: list[subprocess.Popen[bytes]]) -> None:
    for part in reversed(parts):
        part.terminate()
    for part in parts:
        try:
            part.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            part.kill()
            part.wait()
