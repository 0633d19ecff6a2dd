"""Recognizes files that this program wrote (journals, transcripts, requests), which are skipped."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from vibevoice_batch import outputs

JOURNAL = "transcripts.jsonl"
"""Name of the journal in a folder of transcripts."""
FIRST = b'{"file": "'
"""How a line of the journal begins."""


class Products:
    """A container of the paths that earlier runs wrote, according to the journals in the folders
    above them."""

    def __init__(self, files: Iterable[Path] = ()) -> None:
        """`files`: files of run-batch, which no journal lists; they need not exist."""
        self._files = {os.path.realpath(file) for file in files}
        self._by_folder: dict[Path, frozenset[Path]] = {}
        """For each folder, with or without a journal: the transcripts that its journal lists."""

    def __contains__(self, path: Path) -> bool:
        if path.name == outputs.TEMPORARY:
            return True
        if self._files and os.path.realpath(path) in self._files:
            return True
        if path.suffix == ".jsonl":
            return _is_of_run_batch(path) or (path.name == JOURNAL and _is_journal(path))
        is_transcript = path.suffix.removeprefix(".") in outputs.FORMATS
        return is_transcript and any(path in self._of(folder) for folder in path.parents)

    def _of(self, folder: Path) -> frozenset[Path]:
        if folder not in self._by_folder:
            journal = folder / JOURNAL
            known = frozenset(_written(journal)) if os.path.isfile(journal) else frozenset()
            self._by_folder[folder] = known
        return self._by_folder[folder]


def _begin(path: Path) -> bytes:
    """The first bytes of a file. If it cannot be read, the upload reports that later."""
    try:
        with path.open("rb") as file:
            return file.read(256)
    except OSError:
        return b"?"


def _is_of_run_batch(path: Path) -> bool:
    """Whether the file contains requests or results."""
    begin = _begin(path)
    return begin.startswith(b"{") and b'"custom_id"' in begin


def _is_journal(path: Path) -> bool:
    """Whether the file is a journal, even without a complete line."""
    begin = _begin(path)
    return begin.startswith(FIRST) or FIRST.startswith(begin)


def _written(journal: Path) -> Iterator[Path]:
    """The transcripts that a journal lists; none if it is not a journal."""
    with journal.open("rb") as lines:
        for text in lines:
            try:
                line = json.loads(text)
                name, formats = line["file"], claimed_formats(line)
            except (ValueError, KeyError, TypeError):
                continue
            for format in formats:
                yield outputs.path(journal.parent, name, format)


def claimed_formats(line: dict) -> list[str]:
    """The formats whose files belong to a line of a journal. Lines without this key are from older
    versions and claim all formats of a transcript. Raises KeyError, TypeError for other lines."""
    if "transcript" not in line and "error" not in line:
        raise KeyError("transcript")
    return list(line.get("formats", outputs.FORMATS if "transcript" in line else ()))
