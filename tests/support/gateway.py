"""The real LiteLLM proxy with this repository's configuration, in a separate environment.

It needs other versions of FastAPI and other packages than this project, so it cannot be installed
in `.venv`.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from scripts.stack import ROOT, free_port
from tests.support.installing import one_at_a_time
from tests.support.processes import running

ENVIRONMENT = ROOT / ".venv-litellm"
KEY = "sk-6e3f1c1d0a6a4a0f9a5c2b7d8e9f0a1b"
"""LiteLLM does not start without a key, or with an empty or publicly known one."""
START_SECONDS = 300


def install() -> Path:
    """The folder of LiteLLM's commands; installs them if necessary."""
    requirements = ROOT / "litellm" / "requirements.txt"
    with one_at_a_time(requirements):
        _install(requirements.read_text())
    return ENVIRONMENT / "bin"


def _install(wanted: str) -> None:
    done = ENVIRONMENT / "ready"
    if done.exists() and done.read_text() == wanted:
        return
    find_links = os.environ.get("PIP_FIND_LINKS", "")
    environ = {**os.environ, "UV_FIND_LINKS": os.environ.get("UV_FIND_LINKS", find_links)}
    uv = [sys.executable, "-m", "uv"]
    python = ENVIRONMENT / "bin" / "python"
    for command in (
        [*uv, "venv", "--clear", "--quiet", "--python", sys.executable, str(ENVIRONMENT)],
        [*uv, "pip", "install", "--quiet", "--python", str(python), "-r", "requirements.txt"],
    ):
        subprocess.run(command, check=True, env=environ, cwd=ROOT / "litellm")
    done.write_text(wanted)


def configuration(
    servers: Mapping[str, Sequence[str]],
    models: Mapping[str, str],
    cooldowns: Mapping[str, int],
) -> dict[str, Any]:
    """`litellm/config.yaml` with other servers.

    Args:
        servers: model group → base URLs without /v1.
        models: for a group that is not in the file, the model name that its servers use.
        cooldowns: for a group, the seconds for which a busy server is left alone; by default,
            those of its `Retry-After`.
    """
    config = yaml.safe_load((ROOT / "litellm" / "config.yaml").read_text())
    groups = {item["model_name"]: item for item in config["model_list"]}
    chat = groups["vibevoice-asr-chat"]
    for group, model in models.items():
        params = {**chat["litellm_params"], "model": f"hosted_vllm/{model}"}
        groups[group] = {**chat, "model_name": group, "litellm_params": params}
    config["model_list"] = [
        {
            **groups[group],
            "litellm_params": {**groups[group]["litellm_params"], "api_base": f"{url}/v1"},
            "model_info": {**groups[group]["model_info"], "cooldown_time": cooldowns.get(group)},
        }
        for group, urls in servers.items()
        for url in urls
    ]
    return config


@contextmanager
def start_litellm(
    folder: Path,
    servers: Mapping[str, Sequence[str]],
    models: Mapping[str, str] | None = None,
    cooldowns: Mapping[str, int] | None = None,
) -> Iterator[str]:
    """Yield the base URL of LiteLLM in front of `servers` until the block ends.

    Args:
        folder: an empty folder for the configuration and the log.
        servers, models, cooldowns: as for `configuration`.

    Raises:
        RuntimeError: LiteLLM exited or was not ready in time; the message ends with its log.
    """
    commands = install()
    shutil.copy(ROOT / "litellm" / "custom_callbacks.py", folder)
    (folder / "config.yaml").write_text(
        yaml.safe_dump(configuration(servers, models or {}, cooldowns or {}))
    )
    port = free_port()
    argv = ["--config", str(folder / "config.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    environ = {
        **os.environ,
        "LITELLM_MASTER_KEY": KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "true",
        "PYTHONWARNINGS": "",
    }
    with running(
        "LiteLLM",
        [commands / "litellm", *argv],
        f"{url}/health/liveliness",
        folder / "log",
        START_SECONDS,
        environ=environ,
        cwd=ROOT,
    ):
        yield url
