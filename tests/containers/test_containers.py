"""The images, built and run: `make test-containers`."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from scripts.stack import ROOT, free_port
from tests.support.docker import VERSION, Docker
from tests.support.processes import wait_for

pytestmark = pytest.mark.docker

PROXY = f"vibevoice-proxy:{VERSION}"
PROJECT = "vibevoice-proxy"
"""The service's name in docker-compose.proxy-only.yml."""


def run_test(docker: Docker, option: str) -> str:
    """Run docker/run-test.sh and return its last line; fails if the script fails."""
    environ = {"API_PORT": str(free_port())}
    done = docker.run_script(ROOT / "docker" / "run-test.sh", option, environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def inspect(docker: Docker, container: str) -> dict[str, Any]:
    """The output of `docker inspect` for a container."""
    return json.loads(docker.ask("container", "inspect", container))[0]


def status_in(docker: Docker, container: str, process: str = "1") -> dict[str, str]:
    """The fields of /proc/…/status for a process in a container."""
    lines = docker.ask("exec", container, "cat", f"/proc/{process}/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@contextmanager
def container(docker: Docker, *options: str) -> Iterator[str]:
    """A container of the proxy's image without an engine, removed at the end."""
    alone = ("--env", "ASR_API=off", "--env", "VIBEVOICE_LIGHT=on", "--env", "TTS_MODEL_TYPE=off")
    name = docker.ask("run", "--detach", *alone, *options, PROXY)
    try:
        yield name
    finally:
        docker.ask("rm", "--force", "--volumes", name)


@pytest.fixture(scope="module")
def proxy(docker: Docker) -> Iterator[tuple[str, str]]:
    """The proxy started by docker-compose.proxy-only.yml: name of its container, and URL."""
    port = free_port()
    environ = {
        "API_PORT": str(port),
        "ASR_API": "off",
        "VIBEVOICE_LIGHT": "on",
        "VIBEVOICE_MAX_PROMPT_CHARS": "5",
    }
    compose = ("compose", "-f", "docker/docker-compose.proxy-only.yml")
    try:
        docker.ask(*compose, "up", "--detach", "--wait", environ=environ)
        yield docker.ask(*compose, "ps", "--quiet", "proxy"), f"http://127.0.0.1:{port}"
    finally:
        docker.ask(*compose, "down", "--volumes", environ=environ)


def test_the_proxy_alone(docker: Docker) -> None:
    """The image builds; the container becomes healthy, speaks, transcribes, is confined, and stops
    by itself."""
    assert run_test(docker, "--no-gpu").endswith(" passed, 0 failed")


def test_engine_and_proxy_without_a_gpu(docker_with_engine: Docker) -> None:
    """Both images build; their containers serve and stop together."""
    assert run_test(docker_with_engine, "--cpu").endswith(" passed, 0 failed")


def test_a_container_may_do_little(docker: Docker, proxy: tuple[str, str]) -> None:
    """Processes have no capabilities and cannot gain any, and the log size is limited."""
    name, _ = proxy
    status = status_in(docker, name)
    assert {status[kind] for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Uid"].split()[0]) == ("1", "10001")
    found = inspect(docker, name)
    assert found["HostConfig"]["ReadonlyRootfs"]
    assert found["HostConfig"]["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    assert found["Config"]["Labels"]["com.docker.compose.project"] == PROJECT
    assert found["State"]["Health"]["Status"] == "healthy"


def test_settings_arrive(proxy: tuple[str, str]) -> None:
    """A limit set in the shell of `docker compose` applies to the proxy."""
    answer = httpx2.post(
        f"{proxy[1]}/v1/audio/transcriptions",
        files={"file": ("a.wav", (ROOT / "samples" / "two-speakers.wav").read_bytes())},
        data={"model": "light", "prompt": "longer"},
        timeout=60,
    )
    assert answer.status_code == 400
    assert "at most 5" in answer.json()["error"]["message"]


def test_the_image_holds_the_light_recognizers_models(docker: Docker) -> None:
    """The models load without network access."""
    code = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8899/health').read())"
    with container(docker, "--network", "none", "--read-only", "--tmpfs", "/tmp") as name:
        health = answered(lambda: docker.run("exec", name, "python", "-c", code).stdout)
    assert '"light":"ok"' in health


def test_the_health_check_knows_a_changed_port(docker: Docker) -> None:
    """The image's health check uses the port on which the proxy listens."""
    with container(docker, "--env", "API_PORT=9000", "--health-interval", "1s") as name:

        def is_healthy() -> bool:
            return inspect(docker, name)["State"]["Health"]["Status"] == "healthy"

        assert wait_for(is_healthy, 60)


def answered(ask: Callable[[], str]) -> str:
    """Call `ask` until it returns a true value; return that value."""
    return wait_for(lambda: ask() or None, 60)
