"""Runs the images' installation from the files that the Docker builder would receive, each in a
separate environment."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from scripts.stack import ROOT, free_port
from tests.support.processes import START_SECONDS, running

from vibevoice_core.distribution import installed_version

DOCKER = ROOT / "docker"
BIN = Path(sys.executable).parent
LOCKED = sorted(path.stem for path in (DOCKER / "requirements").iterdir())
OURS = ("vibevoice-serving", "av", "soxr", "pydantic-settings")
"""Packages that the engine's image adds to vLLM's image."""


def uv(*arguments: object, cwd: Path = ROOT) -> str:
    """Run uv and return its output. Uses only PyPI, because an image is built without local
    folders."""
    environ = {k: v for k, v in os.environ.items() if not k.endswith("FIND_LINKS")}
    command = [BIN / "uv", *map(str, arguments)]
    found = subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's files that .dockerignore does not exclude."""
    folder = tmp_path_factory.mktemp("context")
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            source, target = ROOT / line[1:], folder / line[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
    return folder


def install(part: str, python: Path, context: Path) -> None:
    """Run the images' installation script."""
    environ = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    environ = {k: v for k, v in environ.items() if not k.endswith("FIND_LINKS")}
    command = ["docker/install.sh", part, str(python)]
    found = subprocess.run(
        command, cwd=context, env=environ, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr


def versions(python: Path) -> dict[str, str]:
    """Name → version of all installed packages."""
    listed = json.loads(uv("pip", "list", "--format=json", "--python", python))
    return {package["name"]: package["version"] for package in listed}


@pytest.fixture(scope="module")
def proxy_python(context: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment installed like that of the proxy's image."""
    folder = tmp_path_factory.mktemp("proxy") / "venv"
    uv("venv", "--quiet", "--python", sys.executable, folder)
    python = folder / "bin" / "python"
    install("proxy", python, context)
    return python


@pytest.fixture
def proxy_url(proxy_python: Path, tmp_path: Path) -> Iterator[str]:
    """A proxy from that environment, without speech weights and without an engine."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    argv = [proxy_python, "-m", "vibevoice_proxy"]
    environ = {"API_PORT": str(port), "ASR_API": "off", "PATH": "/usr/bin:/bin"}
    log = tmp_path / "log"
    with running(
        "the proxy", argv, f"{url}/health", log, START_SECONDS, environ=environ, cwd=tmp_path
    ):
        yield url


def test_the_proxy_needs_no_torch(proxy_python: Path) -> None:
    """The slim image contains neither torch nor vLLM, and pins every version by its hash."""
    installed = versions(proxy_python)
    assert not {"torch", "transformers", "vllm"} & set(installed)
    locked = (DOCKER / "requirements" / "proxy.txt").read_text()
    pinned = set(re.findall(r"^([\w-]+)==([^ ;]+)", locked, re.M))
    assert set(installed.items()) - pinned == {("vibevoice-serving", installed_version())}


def test_the_proxy_of_the_image_speaks(proxy_url: str) -> None:
    """It starts, passes the image's own health check, and speaks."""
    dockerfile = (DOCKER / "proxy.Dockerfile").read_text()
    (check,) = re.findall(r"CMD (\[.*\])", dockerfile)
    _, *arguments = json.loads(check)
    environ = {**os.environ, "API_PORT": str(httpx2.URL(proxy_url).port)}
    subprocess.run([sys.executable, *arguments], check=True, env=environ)
    body = {"model": "tts-1", "input": "One.", "voice": "alloy", "response_format": "wav"}
    speech = httpx2.post(f"{proxy_url}/v1/audio/speech", json=body, timeout=60)
    assert (speech.status_code, speech.content[:4]) == (200, b"RIFF")
    assert speech.headers["x-vibevoice-model"] == "hibari"


def test_the_engine_leaves_vllm_alone(context: Path) -> None:
    """In an environment with vLLM but without our packages, the script only adds ours and changes
    no other package. The environment is a hard-linked copy of this one, without our packages."""
    with tempfile.TemporaryDirectory(prefix=".venv-image-", dir=ROOT) as folder:
        venv = Path(folder) / "venv"
        subprocess.run(["cp", "--archive", "--link", BIN.parent, venv], check=True)
        python = venv / "bin" / "python"
        uv("pip", "uninstall", "--python", python, *OURS)
        before = versions(python)
        assert "torch" in before and "vibevoice-serving" not in before
        install("engine", python, context)
        after = versions(python)
        assert before.items() <= after.items()
        assert set(after) - set(before) == set(OURS)
        dry = subprocess.run(
            [python, "-m", "vibevoice_vllm.launch", "--dry-run", "--device=gpu", "--model-dir=/x"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"{venv}/lib" in dry.stdout, "the chat template is the installed one"


@pytest.mark.parametrize("part", LOCKED)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_wheels_are_there_for_both_architectures(part: str, machine: str, tmp_path: Path) -> None:
    """Every locked package is available on PyPI as a wheel for amd64 and arm64, with the locked
    hashes."""
    uv(
        *("pip", "install", "--dry-run", "--no-deps", "--require-hashes", "--target", tmp_path),
        *("--only-binary", ":all:", "--python", sys.executable, "--python-version", "3.11"),
        *("--python-platform", f"{machine}-manylinux_2_28"),
        *("--requirement", DOCKER / "requirements" / f"{part}.txt"),
    )


@pytest.mark.parametrize("part", LOCKED)
def test_locked_versions_are_those_of_the_project(part: str, tmp_path: Path) -> None:
    """Locking again changes nothing: `docker/lock.sh` ran after the last version change."""
    shutil.copytree(DOCKER / "requirements", tmp_path / "requirements")
    file = tmp_path / "requirements" / f"{part}.txt"
    environ = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    command = ["docker/lock.sh", part, str(file)]
    subprocess.run(command, cwd=ROOT, env=environ, check=True)
    assert file.read_text() == (DOCKER / "requirements" / f"{part}.txt").read_text()


def test_run_test_reports(proxy_python: Path, tmp_path: Path) -> None:
    """docker/run-test.sh tests health, models, voices, metrics, speech, and that a recording is
    rejected without an engine. A script replaces Docker and starts the proxy from the environment
    of the image."""
    port = free_port()
    docker = tmp_path / "docker"
    docker.write_text(
        "#!/bin/bash\n"
        'case "$*" in\n'
        "*' up '*)\n"
        f"    env -i PATH=/usr/bin:/bin API_PORT={port} ASR_API=off TTS_MODEL_TYPE=espeak \\\n"
        "        VIBEVOICE_LIGHT=on \\\n"
        f"        {proxy_python} -m vibevoice_proxy 2>{tmp_path}/log &\n"
        f"    echo $! >{tmp_path}/pid\n"
        f"    for _ in $(seq 300); do\n"
        f"        curl -sf 127.0.0.1:{port}/health >/dev/null && exit; sleep 0.2\n"
        "    done; exit 1;;\n"
        "*' exec '*id*) echo 10001;;\n"
        "*' exec '*' sh -c '*) exit 1;;\n"
        "inspect*) echo 0;;\n"
        "*' exec '*touch*) exit 1;;\n"
        f"*' down '*) kill $(cat {tmp_path}/pid);;\n"
        "esac\n"
    )
    docker.chmod(0o755)
    environ = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "API_PORT": str(port),
    }
    command = [DOCKER / "run-test.sh", "--no-gpu"]
    found = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.splitlines()[-1] == "13 passed, 0 failed"


def test_run_test_names_its_options() -> None:
    """An unknown option gets the usage message."""
    command = [DOCKER / "run-test.sh", "--bad"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert found.stderr.startswith("docker/run-test.sh [--cpu | --no-gpu] ")
