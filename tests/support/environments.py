"""Environments with nothing but the built wheel and one of its extras."""

import os
import subprocess
import sys
from pathlib import Path

from scripts.stack import ROOT

UV = Path(sys.executable).with_name("uv")


def uv(*arguments: object) -> str:
    """Run uv, and return its output; fails with its error message."""
    command = [UV, *map(str, arguments)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout


def environment(
    folder: Path, wheel: Path, extra: str = "", python: str = sys.executable, *options: object
) -> Path:
    """Install the wheel with an extra in a new environment, and return its folder of commands."""
    uv("venv", "--quiet", "--python", python, folder)
    installed = f"{wheel}[{extra}]" if extra else wheel
    uv("pip", "install", "--quiet", "--python", folder / "bin" / "python", *options, installed)
    return folder / "bin"


def bare(**settings: str) -> dict[str, str]:
    """Environment variables of someone who has only installed the wheel: no PYTHONPATH."""
    return {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"), **settings}


def output(
    command: Path, *arguments: object, cwd: Path, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run an installed command in `cwd`, away from the checkout."""
    argv = [command, *map(str, arguments)]
    environ = bare(**settings)
    return subprocess.run(argv, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
