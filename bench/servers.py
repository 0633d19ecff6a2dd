"""Starts the proxy and the engine for a benchmark, and measures the proxy's processor time."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
from scripts.stack import EMBEDDED, free_port, stack
from tests.support.processes import fake_engine_process, proxy_process


class Servers(NamedTuple):
    """A proxy and the engine behind it."""

    url: str
    """The proxy's base URL, without /v1."""
    engine: str
    """The engine's base URL, without /v1."""
    proxy: psutil.Process


def log_file(bench: str) -> Path:
    """The log file of a benchmark's servers."""
    return Path(tempfile.gettempdir()) / f"vibevoice-bench-{bench}.log"


@contextlib.contextmanager
def real_engine(log: Path, /, **environ: str) -> Iterator[Servers]:
    """Both, ready, on the embedded checkpoint; `environ` is added to the inherited environment."""
    port, engine_port = free_port(), free_port()
    environ = {"VIBEVOICE_LIGHT": "off", **environ}  # the benchmark is about the engine
    with stack(EMBEDDED, port, engine_port, log, environ) as parts:
        proxy = psutil.Process(parts.proxy.pid)
        yield Servers(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{engine_port}", proxy)


@contextlib.contextmanager
def fake_engine(log: Path, seconds: float = 0.0, /, **environ: str) -> Iterator[Servers]:
    """The proxy with a fake engine that takes `seconds` per answer without using processor time."""
    environ = {"VIBEVOICE_LOG_LEVEL": "ERROR", **environ}
    with (
        fake_engine_process(log.with_suffix(".engine.log"), seconds, killed=True) as engine,
        proxy_process(log, killed=True, ASR_BASE_URL=engine, **environ) as (process, url),
    ):
        yield Servers(url, engine, psutil.Process(process.pid))


def processor_seconds(process: psutil.Process) -> float:
    """Processor time used so far."""
    times = process.cpu_times()
    return times.user + times.system
