"""Finds the worker processes of the proxies that run in this process."""

from contextlib import suppress

import psutil

SPEECH, LIGHT = "vibevoice_tts.worker", "vibevoice_light.worker"


def workers(module: str) -> list[psutil.Process]:
    """The running workers of `module`, the newest one last. Workers of the light recognizer that
    only compare voices do not count: they have no folder as their argument."""
    found: list[tuple[float, psutil.Process]] = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it has just exited
            command = child.cmdline()
            if module in command and command[-1]:
                found.append((child.create_time(), child))
    return [child for _, child in sorted(found, key=lambda one: one[0])]


def newest_worker(module: str) -> psutil.Process:
    """The worker of `module` that started last: that of the proxy that a test has just started."""
    return workers(module)[-1]
