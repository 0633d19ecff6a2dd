"""Parses manifests: lists of recordings, in the formats that programs write."""

import json
import os
import shlex
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from vibevoice_batch.errors import InputError

FIELDS = frozenset({"language", "prompt", "hotwords", "keywords"})
"""Manifest keys sent to the server with the recording; other keys are copied to its result."""
_BOMS = {
    b"\xef\xbb\xbf": "utf-8",
    b"\xff\xfe\0\0": "utf-32-le",
    b"\0\0\xfe\xff": "utf-32-be",
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """What a manifest says about one recording."""

    place: str
    """Position in the manifest, for messages."""
    path: str
    """As written."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Sent to the server with the recording; the keys are in FIELDS."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """All other keys."""
    is_exact: bool = False
    """Whether the path is used exactly as written, without removing quotes and the like."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A list of recordings."""

    name: str
    folder: Path
    """The manifest's folder, for paths that are not in the working directory."""
    entries: list[Entry]

    def locate(self, entry: Entry) -> tuple[Path, Path] | None:
        """(path, folder that it is relative to) of the first match for an entry. The working
        directory comes before the manifest's folder, and the exact spelling before others."""
        spellings = [entry.path] if entry.is_exact else _spellings(entry.path)
        for spelling in dict.fromkeys(spellings):
            for folder in (Path.cwd(), self.folder):
                if spelling and os.path.lexists(path := folder / spelling):
                    return path, folder
        return None


def parse(name: str, data: bytes, folder: Path) -> Manifest:
    """Parse the manifest `name` with content `data`: a path per line, a JSON object per line, a
    JSON array of either, or NUL-terminated paths. Any Unicode encoding and any line ending.

    Raises InputError if it is not in the encoding that its first bytes indicate, or if a JSON
    object is invalid.
    """
    text = _decode(name, data)
    if "\0" in text:
        paths = filter(None, text.split("\0"))
        entries = [
            Entry(f"{name}, entry {number}", path, is_exact=True)
            for number, path in enumerate(paths, 1)
        ]
    elif (items := _array(text)) is not None:
        entries = [_entry(item, f"{name}, entry {number}") for number, item in enumerate(items, 1)]
    else:
        # Not str.splitlines, which also splits at characters that file names may contain.
        lines = text.split("\n" if "\n" in text else "\r")
        entries = [
            _line(line.rstrip("\r"), f"{name}, line {number}")
            for number, line in enumerate(lines, 1)
            if line.strip()
        ]
    return Manifest(name, folder, entries)


def _decode(name: str, data: bytes) -> str:
    # The longest first: UTF-32's byte order mark begins with UTF-16's.
    mark = next((mark for mark in sorted(_BOMS, key=len)[::-1] if data.startswith(mark)), b"")
    encoding = _BOMS[mark] if mark else _unmarked(data)
    # File names may not be valid UTF-8.
    errors = "surrogateescape" if encoding == "utf-8" else "strict"
    try:
        return data[len(mark) :].decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise InputError(f"{name} begins as {encoding} but is invalid: {error.reason}") from None


def _unmarked(data: bytes) -> str:
    """The encoding of a manifest without a byte order mark: UTF-16 if every second byte is often
    NUL, as in mostly Latin text; otherwise UTF-8, where NUL terminates a path."""
    high, low = data[1::2].count(0), data[::2].count(0)
    if len(data) % 2 or len(data) < 8 or max(high, low) < len(data) / 4:
        return "utf-8"
    if low == 0:
        return "utf-16-le"
    return "utf-16-be" if high == 0 else "utf-8"


def _array(text: str) -> list[Any] | None:
    if not text.lstrip().startswith("["):
        return None
    try:
        items = json.loads(text)
    except ValueError:
        return None  # a file may be named [1].wav
    return items if isinstance(items, list) else None


def _line(line: str, place: str) -> Entry:
    if not line.lstrip().startswith("{") or os.path.lexists(line):
        return Entry(place, line)
    try:
        return _entry(json.loads(line), place)
    except json.JSONDecodeError as error:
        raise InputError(f"{place} is not valid JSON: {error}") from None


def _entry(item: Any, place: str) -> Entry:
    """Parse a JSON item. Raises InputError."""
    if isinstance(item, str):
        return Entry(place, item)
    if not isinstance(item, dict):
        raise InputError(f"{place}: expected a path or an object with a path, got {item!r}")
    rest = dict(item)
    if not isinstance(path := rest.pop("path", None), str) or not path:
        raise InputError(f'{place}: expected a "path"')
    fields = {key: rest.pop(key) for key in FIELDS & set(rest)}
    for key, value in fields.items():
        check_field(key, value, place)
    fields = {key: value for key, value in fields.items() if value is not None}
    return Entry(place, path, fields, rest, is_exact=True)


def check_field(key: str, value: Any, place: str) -> None:
    """Raises InputError if `value` cannot be sent as the field `key`."""
    texts = value if key == "keywords" and isinstance(value, list) else [value]
    if value is not None and not all(isinstance(text, str) for text in texts):
        raise InputError(f"{place}: expected text in {key!r}, got {value!r}")
    try:
        "".join(filter(None, texts)).encode()
    except UnicodeEncodeError:
        raise InputError(f"{place}: {key!r} is not valid Unicode text") from None


def _spellings(text: str) -> Iterator[str]:
    """Possible meanings of a line, the most likely first."""
    bare = text.strip()
    yield from (text, text.rstrip(), bare)
    if bare[:1] in ("'", '"'):
        yield from _unquoted(bare)
    if bare.startswith("file://"):
        yield unquote(urlsplit(bare).path, errors="surrogateescape")
    if bare.startswith("~"):
        yield os.path.expanduser(bare)
    yield bare.replace("\\", "/")
    # macOS decomposes names: ü becomes u and a combining mark.
    yield from (unicodedata.normalize(form, bare) for form in ("NFC", "NFD"))
    if not _is_utf8(bare):
        yield os.fsencode(bare).decode("cp1252", errors="replace")


def _unquoted(text: str) -> Iterator[str]:
    """Undo the quoting of shells, JSON, and spreadsheets."""
    try:
        yield str(json.loads(text))
    except ValueError:
        pass
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    if len(words) == 1:
        yield words[0]
    yield text[1:-1].replace('""', '"')


def _is_utf8(text: str) -> bool:
    return not any("\udc80" <= character <= "\udcff" for character in text)
