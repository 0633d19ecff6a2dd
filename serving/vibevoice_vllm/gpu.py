"""The GPUs of this machine, as nvidia-smi knows them."""

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
    """nvidia-smi is there and does not answer; the message says so."""


def find_device(asked: Literal["auto", "gpu", "cpu"]) -> Device:
    """The device asked for; for auto, gpu if nvidia-smi names one.

    Raises:
        GpuError: nvidia-smi hangs.
    """
    if asked != "auto":
        return asked
    return "gpu" if "GPU" in _ask("-L") else "cpu"


def find_card(ids: str, environ: Mapping[str, str], count: int = 1) -> Card | None:
    """The one with the least free memory of the GPUs that the engine would use, or None where
    nvidia-smi does not tell.

    Args:
        ids: those asked for, by index or UUID; empty means what CUDA_VISIBLE_DEVICES says, or all.
        count: how many of them it uses: vLLM takes the first.

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
            return None  # the engine sees an instance, of which this table knows nothing
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
    """Where CPU and GPU share their memory (DGX Spark), nvidia-smi knows none of its own.

    Raises:
        ValueError: it does not tell.
    """
    if mebibytes == "[N/A]":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return float(mebibytes) / 1024


def _ask(*arguments: str) -> str:
    """What nvidia-smi prints, empty where it is missing or fails."""
    if (nvidia_smi := shutil.which("nvidia-smi")) is None:
        return ""
    asked = [nvidia_smi, *arguments]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise GpuError(f"{nvidia_smi} did not answer within {_SECONDS} s") from error
    return found.stdout if found.returncode == 0 else ""
