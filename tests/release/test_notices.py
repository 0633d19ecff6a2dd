"""THIRD_PARTY_NOTICES.md lists everything in the repository that others made."""

import re
import subprocess
from pathlib import PurePath

import pytest
from scripts.stack import ROOT

NOTICES = (ROOT / "THIRD_PARTY_NOTICES.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in NOTICES.splitlines()
    if line.startswith("| `")
]
BINARY = {
    *(".bin", ".flac", ".gz", ".mp3", ".onnx", ".ort", ".pt", ".safetensors", ".ttf", ".wav"),
    *(".wasm", ".whl", ".woff", ".woff2", ".zip"),
}
"""Endings of files that could be the work of others; pictures are screenshots of this project."""


def listed() -> list[str]:
    """Paths of files and folders (which end in /) in the tables."""
    return [path for row in ROWS for path in re.findall(r"`([\w./-]+/[\w./-]*)`", row[0])]


def needs_notice(path: PurePath) -> bool:
    return "vendor" in path.parts or path.suffix in BINARY


def test_every_file_of_others_is_listed() -> None:
    """Vendored sources, models, and recordings."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    files = [path for path in found.stdout.splitlines() if needs_notice(PurePath(path))]
    assert len(files) > 10
    known = tuple(listed())
    assert [path for path in files if not path.startswith(known)] == []


def test_everything_listed_exists() -> None:
    """A row for a file that has gone would be wrong."""
    assert len(listed()) >= 10
    for path in listed():
        assert (ROOT / path).is_dir() == path.endswith("/")
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_licenses_next_to_the_files_exist(row: list[str]) -> None:
    """Each row names a license; its text is where the row says."""
    assert len(row) == 4 and all(row)
    for name in re.findall(r"`([\w.-]+)` (?:next to it|in the folder)", row[3]):
        [path, *_] = re.findall(r"`([\w./-]+)`", row[0])
        file = (ROOT / path / name) if path.endswith("/") else (ROOT / path).with_name(name)
        words = {"Apache-2.0": "Apache License", "MIT": "MIT License", "BSD": "BSD 3-Clause"}
        text = next(text for key, text in words.items() if key in row[3])
        assert text in file.read_text()
