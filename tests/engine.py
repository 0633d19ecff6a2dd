"""The real engine on this machine's CPU, started as the project starts it."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from vibevoice_vllm.command import LaunchSettings, engine_command

TINY = Path(__file__).parents[1] / "models" / "tiny-asr"
"""The embedded checkpoint."""
START_SECONDS = 600
_PINNING = ("--logits-processors", "--middleware")


@contextmanager
def start_engine(
    model: Path, log: Path, *arguments: str, pinned: bool = True, **environ: str
) -> Iterator[str]:
    """Yield the base URL of an engine that serves `model` until the block ends.

    Args:
        log: file for what the engine prints.
        arguments: go to vLLM as they are, after the project's.
        pinned: False leaves out the middleware and the penalties, so that callers decide.
        environ: set beside the inherited environment.

    Raises:
        RuntimeError: the engine ended or was not ready in time; the message ends with its log.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = LaunchSettings(model_dir=str(model), port=port, max_num_seqs=32, cpu_kvcache_gib=1)
    command = engine_command(settings, "cpu", os.environ, list(arguments))
    argv = command.argv
    for flag in () if pinned else _PINNING:
        at = argv.index(flag)
        argv = argv[:at] + argv[at + 2 :]
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            env={**os.environ, **command.env, **environ},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-4000:]
                raise RuntimeError(f"the engine did not get ready:\n{tail}")
            time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health", timeout=10).status_code == 200
    except httpx2.TransportError:
        return False
