"""Measures the memory of a process and its descendants."""

import re
import threading
from pathlib import Path
from typing import NamedTuple

import psutil

GIB = 2**30
_LINE = re.compile(r"^(Pss|Pss_Anon):\s+(\d+) kB", re.M)


class Held(NamedTuple):
    """Bytes; memory shared by several processes is counted once (PSS)."""

    all: int = 0
    anonymous: int = 0
    """Without file-backed pages, such as weights being read, which the system can drop."""

    def __str__(self) -> str:
        return f"{self.all / GIB:.1f} GiB, of which {self.anonymous / GIB:.1f} GiB anonymous"


def held(process: psutil.Process) -> Held:
    """Memory of the process and its descendants now (Linux)."""
    found = {"Pss": 0, "Pss_Anon": 0}
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return Held()
    for member in family:
        try:
            rollup = Path(f"/proc/{member.pid}/smaps_rollup").read_text()
        except OSError:  # it has exited
            continue
        for name, kilobytes in _LINE.findall(rollup):
            found[name] += int(kilobytes) * 1024
    return Held(found["Pss"], found["Pss_Anon"])


class PeakMemory:
    """Maximum memory of a process and its descendants while entered, sampled twice a second."""

    def __init__(self, process: int) -> None:
        self._process = psutil.Process(process)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak = Held()

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            now = held(self._process)
            self.peak = Held(*map(max, self.peak, now))

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
