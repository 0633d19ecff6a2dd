"""Servers as processes of their own, for the tests that talk to real programs."""

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2


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
) -> Iterator[None]:
    """The process, from when the URL `health` answers 200 until the block ends; `log` takes its
    output. Raises RuntimeError with the log's end when it ends before, or after `seconds`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, env=environ, stdout=output, stderr=subprocess.STDOUT, cwd=cwd
        )
    try:
        deadline = time.monotonic() + seconds
        while not _is_ready(health):
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-4000:]
                raise RuntimeError(f"{name} did not get ready:\n{tail}")
            time.sleep(0.3)
        yield
    finally:
        process.terminate()
        process.wait(60)


def _is_ready(health: str) -> bool:
    try:
        return httpx2.get(health, timeout=10).status_code == 200
    except httpx2.TransportError:
        return False
