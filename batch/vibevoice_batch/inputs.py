"""Finds the recordings in folders, globs, files, and manifests, and reports everything else."""

import glob
import os
from collections.abc import Container, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vibevoice_batch.errors import InputError
from vibevoice_batch.folders import Contents, contents, why_no_file
from vibevoice_batch.globs import leads, matches
from vibevoice_batch.manifests import Entry, Manifest
from vibevoice_batch.recordings import EXTENSIONS, Found, Recording, absolute, name_of


def find(
    inputs: Iterable[str],
    manifests: Iterable[Manifest] = (),
    *,
    base: Path | None = None,
    defaults: dict[str, Any] | None = None,
    all_files: bool = False,
    products: Container[Path] = (),
) -> Found:
    """Find the recordings in files, folders, globs, and manifests, each once, in a stable order.

    Names are paths relative to `base`. Without `base`, they are relative to the given folder, to
    the part of a glob before its first wildcard, to a given file's folder, and for manifests to the
    working directory or the manifest's folder. What a manifest says about a recording also applies
    if another input contains its file.

    Args:
        defaults: fields for recordings that do not set them.
        all_files: include every file in a folder, whatever its extension.
        products: files to skip because earlier runs wrote them.

    Raises:
        InputError: an input does not exist, two files have the same name, or two lines of
            manifests contradict each other.
    """
    search = _Search(base, defaults or {}, all_files, products)
    for given in inputs:
        search.take(given)
    for manifest in manifests:
        search.read(manifest)
    found = search.found
    found.recordings.extend(search.recordings.values())
    if search.missing and not found.recordings and not found.problems:
        raise InputError("; ".join(f"{what} {why}" for what, why in search.missing))
    found.problems.extend(search.missing)
    return found


class _Search:
    """Processes one input after another."""

    def __init__(
        self,
        base: Path | None,
        defaults: dict[str, Any],
        all_files: bool,
        products: Container[Path],
    ) -> None:
        self.found = Found()
        """Everything but the recordings."""
        self.recordings: dict[Path, Recording] = {}
        self.missing: list[tuple[str, str]] = []
        """(input, reason) of inputs that do not exist."""
        self._base = base
        self._defaults = defaults
        self._all_files = all_files
        self._products = products
        self._names: dict[str, Path] = {}
        self._told: set[Path] = set()
        """Recordings for which a manifest line contains more than the path."""

    def take(self, given: str) -> None:
        """Add a file, a folder, or a glob."""
        if not given:
            raise InputError("an input is empty: is a variable unset?")
        path = absolute(given)
        if os.path.isfile(path):
            self._file(path, path.parent)
        elif os.path.isdir(path):
            self._folder(path, given)
        elif (why := why_no_file(path)) != "does not exist":
            self.found.problems.append((given, why))
        elif glob.has_magic(given):
            self._glob(given)
        else:
            self.missing.append((given, "is neither a file, a folder, nor a glob"))

    def _folder(self, folder: Path, given: str) -> None:
        problems = len(self.found.problems)
        takes = self._inside(folder, folder)
        if not takes and len(self.found.problems) == problems:
            # An unmounted disk looks like an empty folder.
            self.found.problems.append((given, "contains no recordings"))

    def _inside(self, folder: Path, root: Path) -> bool:
        """Add a folder's contents; return whether there were recordings."""
        inside = contents(folder)
        for path in inside.hidden:
            (self.found.ours if path in self._products else self.found.hidden).append(path)
        for path, why in inside.odd:
            if self._is_wanted(path) or not path.suffix:
                self.found.problems.append((str(path), why))
            else:
                self.found.skipped.append(path)
        self._note(inside)
        takes = False
        for path in inside.files:
            if self._is_wanted(path):
                takes = self._file(path, root) or takes
            else:
                (self.found.ours if path in self._products else self.found.skipped).append(path)
        return takes

    def _is_wanted(self, path: Path) -> bool:
        return self._all_files or path.suffix.lower() in EXTENSIONS

    def _note(self, inside: Contents) -> None:
        self.found.problems.extend((str(path), why) for path, why in inside.unreadable)
        self.found.again.extend(inside.again)

    def _glob(self, given: str) -> None:
        # Not the standard library's glob: it silently skips folders that it cannot read, and two
        # links that lead back up give it more paths than it can ever list.
        fixed = os.path.dirname(given[: min(given.find(c) for c in "*?[" if c in given)])
        root = absolute(fixed)
        wildcards = tuple(filter(None, given.removeprefix(fixed).split("/")))
        inside = contents(
            root,
            opens=lambda folder: leads(folder.relative_to(root).parts, wildcards),
            hidden=True,
        )

        def is_meant(path: Path) -> bool:
            return matches(path.relative_to(root).parts, wildcards)

        files = list(filter(is_meant, inside.files))
        folders = list(filter(is_meant, inside.closed))
        odd = [(str(path), why) for path, why in inside.odd if is_meant(path)]
        if not os.path.lexists(root) or not any((files, folders, odd, inside.unreadable)):
            self.missing.append((given, "does not exist, and no file matches it"))
            return
        self._note(inside)
        self.found.problems.extend(odd)
        for path in files:
            self._file(path, root)
        for path in folders:
            self._inside(path, root)

    def read(self, manifest: Manifest) -> None:
        """Add everything that a manifest lists."""
        if not manifest.entries:
            self.found.problems.append((manifest.name, "lists no recordings"))
        for entry in manifest.entries:
            located = manifest.locate(entry)
            if located is None and not entry.is_exact and entry.path.lstrip().startswith("#"):
                self.found.comments.append(entry.place)
                continue
            if not _can_be_a_path(entry.path):
                self.found.problems.append((entry.place, f"{entry.path!r} is not a valid path"))
                continue
            text = entry.path if entry.is_exact else entry.path.strip()
            path, folder = located or (Path.cwd() / text, Path.cwd())
            self._entry(entry, absolute(path), folder)

    def _entry(self, entry: Entry, path: Path, folder: Path) -> None:
        if os.path.lexists(path) and not os.path.isfile(path):
            self.found.problems.append((str(path), why_no_file(path)))
            return
        fields = {**self._defaults, **entry.fields}
        recording = Recording(name_of(path, self._base or folder), path, fields, entry.metadata)
        self._put(recording, tells=bool(entry.fields or entry.metadata))

    def _file(self, path: Path, root: Path) -> bool:
        name = name_of(path, self._base or root)
        return self._put(Recording(name, path, dict(self._defaults)), tells=False)

    def _put(self, recording: Recording, *, tells: bool) -> bool:
        """Return whether it is a recording."""
        path = recording.path
        if path in self._products:
            self.found.ours.append(path)
            return False
        if known := self.recordings.get(path):
            recording = replace(recording, name=known.name)
            if tells and path in self._told and recording != known:
                raise InputError(f"{path} is listed twice in the manifests, with different values")
        elif (other := self._names.setdefault(recording.name, path)) != path:
            raise InputError(
                f"{other} and {path} would both be named {recording.name}: set --base to a "
                "folder that contains both"
            )
        if tells:
            self._told.add(path)
        if tells or not known:
            self.recordings[path] = recording
        return True


def _can_be_a_path(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # a lone surrogate, from JSON
        return False
