"""The real engine on this machine's CPU, started by the project's own code."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from scripts.stack import free_port
from tests.support.processes import running

from vibevoice_core.penalties import Switch
from vibevoice_vllm.command import engine_command
from vibevoice_vllm.settings import LaunchSettings

TINY = Path(__file__).parents[2] / "models" / "tiny-asr"
"""The embedded checkpoint."""
START_SECONDS = 600
_PINNING = ("--logits-processors", "--middleware")


@contextmanager
def start_engine(
    model: Path,
    log: Path,
    *arguments: str,
    port: int | None = None,
    pinned: bool = True,
    killed: bool = False,
    penalties: Switch = "on",
    environ: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Yield the base URL of an engine that serves `model` until the block ends.

    Args:
        log: file for the engine's output.
        arguments: passed to vLLM unchanged, after the project's own.
        port: a free port by default.
        pinned: False leaves out the middleware and the penalties, so that callers decide.
        killed: kill the engine at the end instead of stopping it.
        penalties: the operator's setting.
        environ: variables to add to the inherited environment.

    Raises:
        RuntimeError: the engine exited or was not ready in time; the message ends with its log.
    """
    port = port or free_port()
    settings = LaunchSettings(
        model_dir=str(model), port=port, max_num_seqs=32, cpu_kvcache_gib=1, penalties=penalties
    )
    command = engine_command(settings, "cpu", os.environ, list(arguments))
    argv = command.argv
    for flag in () if pinned else _PINNING:
        at = argv.index(flag)
        argv = argv[:at] + argv[at + 2 :]
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, **command.env, **(environ or {})}
    health = f"{url}/health"
    with running(
        "the engine", argv, health, log, START_SECONDS, environ=environment, killed=killed
    ):
        yield url


def in_engine(url: str, *states: str) -> int:
    """Number of requests in an engine, from its own metrics: running or waiting, or only those in
    `states`."""
    names = "|".join(states or ("running", "waiting"))
    return _total(url, rf"num_requests_(?:{names})\{{[^}}]*")


def completed_by_engine(url: str) -> int:
    """Number of requests that an engine has completed, from its own metrics; requests that it
    aborted do not count."""
    return _total(url, r'request_success_total\{[^}]*finished_reason="(?:stop|length)"[^}]*')


def _total(url: str, samples: str) -> int:
    with urlopen(f"{url}/metrics", timeout=60) as answer:  # for a bench: httpx2.get takes 40 ms
        metrics = answer.read().decode()
    found = re.findall(rf"^vllm:{samples}\}} (\S+)$", metrics, re.MULTILINE)
    return sum(int(float(number)) for number in found)
