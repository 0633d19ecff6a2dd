"""THIRD_PARTY_NOTICES.md lists all third-party work in the repository."""

import hashlib
import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import PurePath

import pytest
from scripts.stack import ROOT

NOTICES = (ROOT / "THIRD_PARTY_NOTICES.md").read_text()
ROWS = [line for line in NOTICES.splitlines() if line.startswith("| `")]
BINARY = {
    *(".bin", ".flac", ".gz", ".mp3", ".onnx", ".ort", ".pt", ".safetensors", ".ttf", ".wav"),
    *(".wasm", ".whl", ".woff", ".woff2", ".zip"),
}
"""Extensions of files that could be third-party work; pictures are screenshots of this project."""


def listed(rows: Iterable[str]) -> list[str]:
    """Paths of files and folders (which end in /) in the first column."""
    first = (row.split("|")[1] for row in rows)
    return [path for cell in first for path in re.findall(r"`([\w./-]+/[\w./-]*)`", cell)]


def needs_notice(path: PurePath) -> bool:
    return "vendor" in path.parts or path.suffix in BINARY


def test_every_file_of_others_is_listed() -> None:
    """The list includes all vendored sources, models, and recordings."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    files = [path for path in found.stdout.splitlines() if needs_notice(PurePath(path))]
    assert len(files) > 10
    known = tuple(listed(ROWS))
    assert [path for path in files if not path.startswith(known)] == []


def test_everything_listed_exists() -> None:
    """Every listed file exists."""
    assert len(listed(ROWS)) >= 10
    for path in listed(ROWS):
        assert (ROOT / path).is_dir() == path.endswith("/")
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("`")[1])
def test_licenses_next_to_the_files_exist(row: str) -> None:
    """Each row names a license, whose text is in the given place."""
    files, work, copyright, terms = (cell.strip() for cell in row.strip("|").split("|"))
    assert all((files, work, copyright, terms))
    for name in re.findall(r"`([\w.-]+)` (?:next to it|in the folder)", terms):
        [path] = listed([row])
        file = (ROOT / path / name) if path.endswith("/") else (ROOT / path).with_name(name)
        words = {"Apache-2.0": "Apache License", "MIT": "MIT License", "BSD": "BSD 3-Clause"}
        text = next(text for key, text in words.items() if key in terms)
        assert text in file.read_text()


def test_the_bill_of_materials_has_what_is_bundled() -> None:
    """The first table's files, each with its license and, if it is a single file, its hash."""
    bundled = NOTICES.partition("## Only in the repository")[0]
    rows = [line for line in bundled.splitlines() if line.startswith("| `")]
    components = json.loads((ROOT / "third_party.cdx.json").read_text())["components"]
    assert len(components) == len(rows)
    for component, row in zip(components, rows, strict=True):
        [path, *_] = listed([row])
        files = [entry["value"] for entry in component["properties"]]
        assert all(file.startswith(path) and (ROOT / file).is_file() for file in files)
        license_id = component["licenses"][0]["license"]["id"]
        assert re.sub(r"CC-(.*)-(3)", r"CC \1 \2", license_id) in row
        for entry in component.get("hashes", []):
            content = (ROOT / files[0]).read_bytes()
            assert entry["content"] == hashlib.sha256(content).hexdigest()
