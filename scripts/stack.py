"""Starts the engine and the proxy as separate processes, for `make serve`, `make demo`, benchmarks,
and tests."""

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import BinaryIO, NamedTuple
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
    """The processes of a stack, and their base URLs."""

    engine: subprocess.Popen[bytes]
    proxy: subprocess.Popen[bytes]
    engine_url: str
    proxy_url: str

    def check(self) -> None:
        """Raises PartEnded if one of the processes has exited."""
        _check(self.engine, self.proxy)

    def states(self) -> dict[str, str]:
        """The state of each component of the proxy; empty if it does not respond."""
        return _states(_get(f"{self.proxy_url}/health")[1])

    def wait_for_others(self) -> None:
        """Wait until either the engine or everything else is ready. Raises PartEnded."""

        def are_ready() -> bool:
            states = self.states()
            asr = states.pop("asr", "")
            return asr == "ok" or bool(states) and set(states.values()) == {"ok"}

        what = f"the proxy at {self.proxy_url}"
        # The proxy logs each of these requests while its health is not ok.
        _poll(are_ready, what, self.engine, self.proxy, seconds=PROXY_SECONDS, pause=2.0)

    def wait(self) -> None:
        """Wait until both are ready. Raises PartEnded if one exits, or is not ready in time."""
        parts = (self.engine, self.proxy)
        wait_until_ready(f"{self.engine_url}/health", *parts, seconds=ENGINE_SECONDS)
        wait_until_ready(f"{self.proxy_url}/health", *parts, seconds=PROXY_SECONDS)


def free_port() -> int:
    """A port on which nothing listens, below those that the kernel gives to other programs (32768
    and up on Linux): a server may take long to listen on it. For the same reason, pytest-xdist
    workers and the processes they start get different ports."""
    first = 20_000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    while True:
        port = random.randrange(first, 32_768, _WORKERS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def answers(url: str) -> bool:
    """Whether `url` returns 200."""
    return _get(url)[0] == 200


def _get(url: str) -> tuple[int, bytes]:
    """Status and body of a response; 0 if there is none. Unlike httpx2, it uses almost no CPU
    while the process starts."""
    address = urlsplit(url)
    with contextlib.closing(HTTPConnection(address.netloc, timeout=10)) as connection:
        try:
            connection.request("GET", address.path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, HTTPException):
            return 0, b""


def _states(health: bytes) -> dict[str, str]:
    """The states in `health`, a response from the proxy's /health; empty if it is not such a
    response."""
    try:
        return json.loads(health)["parts"]
    except (ValueError, KeyError, TypeError):
        return {}


def wait_until_ready(url: str, *processes: subprocess.Popen[bytes], seconds: float) -> None:
    """Poll `url` until it returns 200. Raises PartEnded if a process exits or time runs out."""
    _poll(lambda: answers(url), url, *processes, seconds=seconds)


def _poll(
    is_ready: Callable[[], bool],
    what: str,
    *processes: subprocess.Popen[bytes],
    seconds: float,
    pause: float = 0.3,
) -> None:
    deadline = time.monotonic() + seconds
    while True:
        _check(*processes)
        if is_ready():
            return
        if time.monotonic() > deadline:
            raise PartEnded(f"{what} was not ready after {seconds:.0f} s")
        time.sleep(pause)


def _check(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        if process.poll() is not None:
            raise PartEnded(f"{_name(process)} exited with code {process.returncode}")


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
    log: Path,
    environ: Mapping[str, str] | None = None,
    folder: Path = ROOT,
) -> Iterator[Parts]:
    """Like `started`, but both parts are ready when the block begins, and write to `log`.

    Raises:
        PartEnded: one of them exited, or was not ready in time.
        GpuError, ValueError: see `with_reserve`.
    """
    environment = {**os.environ, **(environ or {})}
    with (
        log.open("wb") as output,
        started(model, api_port, asr_port, output, output, environment, folder) as parts,
    ):
        parts.wait()
        yield parts


@contextlib.contextmanager
def started(
    model: str,
    api_port: int,
    asr_port: int,
    engine_log: BinaryIO,
    proxy_log: BinaryIO | None,
    environ: Mapping[str, str],
    folder: Path,
) -> Iterator[Parts]:
    """Run the engine on `asr_port` and the proxy on `api_port` until the block exits. They may
    not be ready when the block begins.

    Args:
        proxy_log: file for the proxy's output; None for the terminal.
        environ: all environment variables, except those of the ports.
        folder: where both run. Relative paths start there, and the proxy reads its `.env`.

    Raises:
        GpuError, ValueError: see `with_reserve`.
    """
    # The start script's own wait is disabled; `Parts.wait` waits for both parts.
    engine_options = ["--model-dir", model, "--port", str(asr_port), "--wait-ready-secs", "0"]
    environment = with_reserve({**environ, "API_PORT": str(api_port), "ASR_PORT": str(asr_port)})
    if model != EMBEDDED:
        # The proxy does not know what the engine serves; a real model gets all names.
        environment.setdefault("VIBEVOICE_LIGHT", "off")
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for module, options, output in (
            (_ENGINE, engine_options, engine_log),
            (_PROXY, [], proxy_log),
        ):
            command = [sys.executable, "-m", module, *options]
            processes.append(
                subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=folder)
            )
        engine, proxy = processes
        proxy_url = local_url(environment.get("API_HOST", ""), api_port)
        yield Parts(engine, proxy, f"http://127.0.0.1:{asr_port}", proxy_url)
    finally:
        _stop(processes)


def _stop(parts: list[subprocess.Popen[bytes]]) -> None:
    for part in reversed(parts):
        part.terminate()
    for part in parts:
        try:
            part.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            part.kill()
            part.wait()
