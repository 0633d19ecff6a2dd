"""The real engine on this machine's CPU, started as the project starts it."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import running

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
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, **command.env, **environ}
    with running("the engine", argv, f"{url}/health", log, START_SECONDS, environ=environment):
        yield url
