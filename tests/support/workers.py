"""The child processes of this one, such as the workers of its proxies."""

import sys
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest

SPEECH, LIGHT = "vibevoice_tts.worker", "vibevoice_light.worker"


def children(is_wanted: Callable[[list[str]], object]) -> list[psutil.Process]:
    """The child processes whose command line is wanted, the newest one last."""
    found: list[tuple[float, psutil.Process]] = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it has just exited
            if is_wanted(child.cmdline()):
                found.append((child.create_time(), child))
    return [child for _, child in sorted(found, key=lambda one: one[0])]


def workers(module: str) -> list[psutil.Process]:
    """The workers of `module`, the newest one last. Workers of the light recognizer that only
    compare voices do not count: they have no folder as their argument."""
    return children(lambda command: module in command and command[-1])


def newest_worker(module: str) -> psutil.Process:
    """The worker of `module` that started last: that of the proxy that a test has just started."""
    return workers(module)[-1]


def keep_workers_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until `monkeypatch` is undone, no proxy of this process can start a worker."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
