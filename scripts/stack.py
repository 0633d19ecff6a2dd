"""Engine and proxy, each a process of its own: what `make serve`, `make demo`, benches and tests
start."""

import contextlib
import os
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

ROOT = Path(__file__).resolve().parent.parent
EMBEDDED = str(ROOT / "models" / "tiny-asr")
ENGINE_SECONDS = 1800
"""In which the largest model has loaded from a slow disk."""
PROXY_SECONDS = 660
"""More than the proxy takes for the speech models."""
STOP_SECONDS = 45
"""More than the start script takes to end an engine that does not end by itself."""


class PartEnded(Exception):
    """A process ended, or was not ready in time."""


class Parts(NamedTuple):
    """The processes of a stack."""

    engine: subprocess.Popen[bytes]
    proxy: subprocess.Popen[bytes]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(url: str) -> bool:
    """Whether `url` gives a 200. Costs the process that starts next to nothing, unlike httpx2."""
    address = urlsplit(url)
    with contextlib.closing(HTTPConnection(address.netloc, timeout=10)) as connection:
        try:
            connection.request("GET", address.path)
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False


def wait_until_ready(url: str, *processes: subprocess.Popen[bytes], seconds: float) -> None:
    """Poll `url` until it answers 200. Raises PartEnded when a process ends or time is up."""
    deadline = time.monotonic() + seconds
    while not answers(url):
        for process in processes:
            if process.poll() is not None:
                raise PartEnded(f"{process.args!r} ended with code {process.returncode}")
        if time.monotonic() > deadline:
            raise PartEnded(f"{url} was not ready after {seconds:.0f} s")
        time.sleep(0.3)


@contextlib.contextmanager
def stack(
    model: str,
    api_port: int,
    asr_port: int,
    log: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Parts]:
    """Engine on `asr_port` and proxy on `api_port`, both ready; ended on leaving.

    Args:
        log: takes the output of both; this terminal does when None.
        environ: set beside the inherited environment.

    Raises:
        PartEnded: one of them ended, or was not ready in time.
        GpuError, ValueError: see `with_reserve`.
    """
    # The start script's own wait is off: what is waited for here is both parts.
    engine_options = ["--model-dir", model, "--port", str(asr_port), "--wait-ready-secs", "0"]
    environment = {**os.environ, **(environ or {})}
    environment |= {"API_PORT": str(api_port), "ASR_PORT": str(asr_port)}
    environment = with_reserve(environment)
    if model != EMBEDDED:
        # The proxy is not told what the engine serves; a real model is for every name.
        environment.setdefault("VIBEVOICE_LIGHT", "off")
    with contextlib.ExitStack() as cleanup:
        output = cleanup.enter_context(log.open("wb")) if log else None
        started: list[subprocess.Popen[bytes]] = []
        cleanup.callback(_stop, started)
        for module, options in (
            ("vibevoice_vllm.launch", engine_options),
            ("vibevoice_proxy", []),
        ):
            command = [sys.executable, "-m", module, *options]
            started.append(
                subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=ROOT)
            )
        parts = Parts(*started)
        wait_until_ready(f"http://127.0.0.1:{asr_port}/health", *parts, seconds=ENGINE_SECONDS)
        wait_until_ready(f"http://127.0.0.1:{api_port}/health", *parts, seconds=PROXY_SECONDS)
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
