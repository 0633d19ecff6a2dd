"""Lists a folder recursively and reports everything that cannot be read."""

import os
import stat
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything in a folder and its subfolders."""

    files: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    """Hidden files and folders (names that begin with a dot); the folders were not searched."""
    odd: list[tuple[Path, str]] = field(default_factory=list)
    """(path, reason) of entries that are neither files nor folders."""
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    """(path, reason) of entries that could not be read."""
    again: list[Path] = field(default_factory=list)
    """Links to folders that were already listed, including loops."""
    closed: list[Path] = field(default_factory=list)
    """Folders excluded by `opens`."""


def contents(
    root: Path, *, opens: Callable[[Path], bool] = lambda _: True, hidden: bool = False
) -> Contents:
    """List the folder `root` recursively. Links to folders are followed. Each folder is read once,
    under its real path if that is below `root`.

    Args:
        opens: whether to search a given folder below `root`.
        hidden: whether to include names that begin with a dot.
    """
    found = Contents()
    seen: set[tuple[int, int]] = set()
    folders, links = deque([root]), deque[Path]()
    while folders or links:
        folder = (folders or links).popleft()
        try:
            identity = os.stat(folder)
            if (identity.st_dev, identity.st_ino) in seen:
                found.again.append(folder)
                continue
            seen.add((identity.st_dev, identity.st_ino))
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            found.unreadable.append((folder, reason(error)))
            continue
        for entry in entries:
            path = Path(entry.path)
            try:
                if entry.name.startswith(".") and not hidden:
                    found.hidden.append(path)
                elif entry.is_dir() and not opens(path):
                    found.closed.append(path)
                elif entry.is_dir():
                    (links if entry.is_symlink() else folders).append(path)
                elif entry.is_file():
                    found.files.append(path)
                else:
                    found.odd.append((path, why_no_file(path)))
            except OSError as error:
                found.unreadable.append((path, reason(error)))
    return found


def why_no_file(path: Path) -> str:
    """Describe what exists at a path that is not a file."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        link = f"is a link to {os.readlink(path)}, which " if os.path.islink(path) else ""
        return f"{link}does not exist"
    except OSError as error:
        return reason(error)
    if stat.S_ISDIR(mode):
        return "is a folder"
    return "is not a file but a pipe, a socket, or a device"


def reason(error: OSError) -> str:
    """The system's message for an error."""
    return f"cannot be read: {error.strerror}"
