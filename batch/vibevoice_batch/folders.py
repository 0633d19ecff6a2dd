"""What lies in a folder and below it, with everything that cannot be looked at named."""

import os
import stat
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Contents:
    """All that is in a folder and the folders below it."""

    files: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    """Files and folders whose names begin with a dot; nothing below them was looked at."""
    odd: list[tuple[Path, str]] = field(default_factory=list)
    """(path, reason) of what is neither a file nor a folder."""
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    """(path, reason) of what the system refused to show."""
    again: list[Path] = field(default_factory=list)
    """Links to folders whose contents are there already, loops among them."""
    closed: list[Path] = field(default_factory=list)
    """Folders that were not to be looked into."""


def contents(
    root: Path, *, opens: Callable[[Path], bool] = lambda _: True, hidden: bool = False
) -> Contents:
    """What is in the folder `root` and below. Links to folders are followed; each folder is read
    once, under its own path where it has one below `root`.

    Args:
        opens: whether to look into a folder below `root`.
        hidden: takes names that begin with a dot for names like others.
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
    """What is at a path that is no file."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        is_link = os.path.islink(path)
        return (
            f"is a link to {os.readlink(path)}, which is not there" if is_link else "is not there"
        )
    except OSError as error:
        return reason(error)
    if stat.S_ISDIR(mode):
        return "is a folder"
    return "is no file but a pipe, a socket or a device"


def reason(error: OSError) -> str:
    """The system's words for an error."""
    return f"cannot be read: {error.strerror}"
