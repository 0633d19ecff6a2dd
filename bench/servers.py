"""The proxy and the engine that a bench measures, and what the proxy costs."""

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
    """The proxy's, without /v1."""
    engine: str
    """The engine's, without /v1."""
    proxy: psutil.Process


def log_file(bench: str) -> Path:
    """Where the output of a bench's servers goes."""
    return Path(tempfile.gettempdir()) / f"vibevoice-bench-{bench}.log"


@contextlib.contextmanager
def real_engine(log: Path, /, **environ: str) -> Iterator[Servers]:
    """Both, ready, on the embedded checkpoint; `environ` is set beside what is inherited."""
    port, engine_port = free_port(), free_port()
    environ = {"VIBEVOICE_LIGHT": "off", **environ}  # it is the engine that is measured
    with stack(EMBEDDED, port, engine_port, log, environ) as parts:
        proxy = psutil.Process(parts.proxy.pid)
        yield Servers(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{engine_port}", proxy)


@contextlib.contextmanager
def fake_engine(log: Path, seconds: float = 0.0, /, **environ: str) -> Iterator[Servers]:
    """The proxy before an engine that takes so long for each answer, and no processor time."""
    environ = {"VIBEVOICE_LOG_LEVEL": "ERROR", **environ}
    with (
        fake_engine_process(log.with_suffix(".engine.log"), seconds, killed=True) as engine,
        proxy_process(log, killed=True, ASR_BASE_URL=engine, **environ) as (process, url),
    ):
        yield Servers(url, engine, psutil.Process(process.pid))


def processor_seconds(process: psutil.Process) -> float:
    """Processor time taken so far."""
    times = process.cpu_times()
    return times.user + times.system
