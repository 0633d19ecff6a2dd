"""Queries nvidia-smi for the GPUs of this machine."""

import csv
import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Literal

from vibevoice_vllm.command import Device
from vibevoice_vllm.memory_plan import GIB, Card

_FIELDS = (
    "index",
    "uuid",
    "name",
    "memory.total",
    "memory.used",
    "compute_cap",
    "mig.mode.current",
)
_SECONDS = 60


class GpuError(Exception):
    """nvidia-smi is installed but does not respond."""


def find_device(asked: Literal["auto", "gpu", "cpu"]) -> Device:
    """Return the requested device; for `auto`, gpu if nvidia-smi lists one.

    Raises:
        GpuError: nvidia-smi hangs.
    """
    if asked != "auto":
        return asked
    return "gpu" if "GPU" in _ask("-L") else "cpu"


def find_card(ids: str, environ: Mapping[str, str], count: int = 1) -> Card | None:
    """Of the GPUs that the engine would use, return the one with the least free memory, or None if
    nvidia-smi does not report it.

    Args:
        ids: requested GPUs by index or UUID; empty means CUDA_VISIBLE_DEVICES, or else all.
        count: number of GPUs to use; vLLM takes the first ones.

    Raises:
        GpuError: nvidia-smi hangs.
    """
    wanted = [i.strip() for i in (ids or environ.get("CUDA_VISIBLE_DEVICES", "")).split(",") if i]
    answer = _ask(f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits")
    found: list[tuple[int, Card]] = []
    rows = csv.reader(answer.splitlines(), skipinitialspace=True)
    for number, row in enumerate(rows):
        if len(row) != len(_FIELDS):
            return None
        index, uuid, name, total, used, capability, mig = row
        named = (n for n, i in enumerate(wanted) if i == index or uuid.startswith(i))
        place = next(named, None) if wanted else number
        if place is None:
            continue
        if mig == "Enabled":
            return None  # a MIG instance, which this table does not list
        try:
            card = Card.of(
                _gib(total),
                name,
                used=_gib(used) if used[:1].isdigit() else 0.0,
                has_bfloat16=float(capability) >= 8.0,
            )
        except ValueError:
            return None
        found.append((place, card))
    taken = [card for _, card in sorted(found, key=lambda item: item[0])[:count]]
    return min(taken, key=lambda card: card.total - card.used, default=None)


def _gib(mebibytes: str) -> float:
    """Convert to GiB. Where CPU and GPU share memory (DGX Spark), nvidia-smi reports no size.

    Raises:
        ValueError: nvidia-smi reports no size.
    """
    if mebibytes == "[N/A]":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return float(mebibytes) / 1024


def _ask(*arguments: str) -> str:
    """Output of nvidia-smi; empty if it is not installed or fails."""
    if (nvidia_smi := shutil.which("nvidia-smi")) is None:
        return ""
    asked = [nvidia_smi, *arguments]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise GpuError(f"{nvidia_smi} did not respond within {_SECONDS} s") from error
    return found.stdout if found.returncode == 0 else ""
