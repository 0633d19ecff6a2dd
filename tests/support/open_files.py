"""Finds the files that a process has open, on Linux."""

import os
from pathlib import Path


def open_files(pid: int | None = None) -> set[str]:
    """The paths of all open files of a process, by default of this one. Files without a name end
    with "(deleted)"."""
    found: set[str] = set()
    for entry in Path(f"/proc/{pid or 'self'}/fd").iterdir():
        try:
            found.add(os.readlink(entry))
        except FileNotFoundError:
            continue  # closed in the meantime
    return found
