"""Environments with nothing but the built wheel and one of its extras: for the tests of a release
and its bills of materials."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / ".venv" / "bin" / "uv"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"


def uv(*arguments: object) -> str:
    """Run uv, and return its output.

    Raises:
        RuntimeError: with uv's error message.
    """
    command = [UV, *map(str, arguments)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        raise RuntimeError(found.stderr)
    return found.stdout


def environment(folder: Path, wheel: Path, extras: str = "", python: str = sys.executable) -> Path:
    """Install the wheel with comma-separated extras in a new environment.

    Returns:
        The folder of its commands.

    Raises:
        RuntimeError: a package cannot be installed; the message is uv's.
    """
    uv("venv", "--quiet", "--python", python, folder)
    install = ("pip", "install", "--quiet", "--python", folder / "bin" / "python")
    if extras == "cpu":
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as excluded:
            # As in scripts/setup.sh: PyPI has their CUDA builds only, and nothing here uses them.
            for name in ("torchaudio", "torchvision", "torchcodec"):
                print(f'{name}; python_version < "3"', file=excluded, flush=True)
            uv(*install, "--override", excluded.name, *_torch_for_cpus(), f"{wheel}[cpu]")
    else:
        uv(*install, f"{wheel}[{extras}]" if extras else wheel)
    return folder / "bin"


def bare(**settings: str) -> dict[str, str]:
    """Environment variables of someone who has only installed the wheel: no PYTHONPATH."""
    return {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"), **settings}


def output(
    command: Path, *arguments: object, cwd: Path, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run an installed command in `cwd`, away from the checkout."""
    argv = [command, *map(str, arguments)]
    return subprocess.run(
        argv,
        cwd=cwd,
        env=bare(**settings),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def _torch_for_cpus() -> tuple[str, ...]:
    """uv's options for finding torch without CUDA: in a local folder, or in PyTorch's index."""
    folder = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
    if folder:
        return ("--find-links", folder)
    return ("--index", TORCH_INDEX, "--index-strategy", "unsafe-best-match")
