"""Which recordings to transcribe: folders, globs, files and manifests → recordings with names."""

import glob
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

FIELDS = frozenset({"language", "prompt", "hotwords", "keywords"})
"""Keys of a manifest that go to the server with the recording; other keys go to its result."""

EXTENSIONS = frozenset(
    ".3g2 .3gp .aac .ac3 .aif .aifc .aiff .amr .ape .asf .au .avi .caf .dss .flac .flv .gsm .m2ts "
    ".m4a .m4b .m4v .mka .mkv .mov .mp2 .mp3 .mp4 .mpeg .mpg .mpga .mts .mxf .oga .ogg .ogv .opus "
    ".ra .snd .spx .ts .vob .voc .vox .w64 .wav .webm .wma .wmv .wv".split()
)
"""What counts as a recording in a folder. The server looks at the content, never at the name."""


class InputError(ValueError):
    """What was given on the command line cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One file to transcribe."""

    name: str
    """Relative path with `/`; its transcripts are named after it."""
    path: Path
    """Absolute."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Goes to the server with the recording; keys are of FIELDS."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """The other keys of its line in the manifest."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the inputs hold."""

    recordings: list[Recording]
    skipped: list[Path]
    """Files in folders that are no recordings by their extension."""


def find(
    inputs: Iterable[str],
    manifests: Iterable[tuple[str, Iterable[str]]] = (),
    *,
    base: Path | None = None,
    defaults: dict[str, Any] | None = None,
    all_files: bool = False,
    without: Path | None = None,
) -> Found:
    """The recordings in files, folders, globs and manifests, each once, in a stable order.

    A name is the path relative to `base`; without one, to the folder given, to a glob's part before
    its first wildcard, to the folder of a file given, and for manifests to the working directory.
    What a line of a manifest says of a recording holds too where another input names its file.

    Args:
        manifests: (name for messages, lines) of each; a line is a path, or a JSON object with
            `path` and any of FIELDS.
        defaults: fields of recordings that do not set them.
        all_files: takes every file in a folder, whatever its extension.
        without: a folder that is left out, where the transcripts go.

    Raises:
        InputError: nothing is at a path given or matches a glob, a line of a manifest is wrong, two
            files have the same name, or two lines say different things of one file.
    """
    found: dict[Path, Recording] = {}
    skipped: list[Path] = []
    names: dict[str, Path] = {}

    told: set[Path] = set()
    """Of which a line of a manifest has said more than the path."""

    def add(recording: Recording, *, tells: bool = False) -> None:
        if known := found.get(recording.path):
            recording = replace(recording, name=known.name)
            if tells and recording.path in told and recording != known:
                raise InputError(f"{recording.path} is in the manifests twice, not the same")
            if tells:
                told.add(recording.path)
                found[recording.path] = recording
            return
        if tells:
            told.add(recording.path)
        if (other := names.setdefault(recording.name, recording.path)) != recording.path:
            raise InputError(
                f"{other} and {recording.path} would both be called {recording.name}: give --base "
                "with a folder that holds both"
            )
        found[recording.path] = recording

    for given in inputs:
        takes_all = all_files or not os.path.isdir(given)
        for path, root in _files(given):
            if without and path.is_relative_to(without):
                continue
            if not takes_all and path.suffix.lower() not in EXTENSIONS:
                skipped.append(path)
            else:
                add(Recording(_name(path, base or root), path, dict(defaults or {})))
    for manifest, lines in manifests:
        for number, line in enumerate(lines, 1):
            if line.strip():
                path, fields, metadata = _entry(line, f"{manifest}, line {number}")
                name = _name(path, base or Path.cwd())
                recording = Recording(name, path, {**(defaults or {}), **fields}, metadata)
                add(recording, tells=bool(fields or metadata))
    return Found(list(found.values()), skipped)


def _files(given: str) -> Iterator[tuple[Path, Path]]:
    """(file, folder that its name is relative to), absolute, for an input of the command line."""
    path = _absolute(given)
    if path.is_file():
        yield path, path.parent
    elif path.is_dir():
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                if not name.startswith(".") and (file := Path(folder, name)).is_file():
                    yield file, path
    elif glob.has_magic(given):
        matches = sorted(filter(os.path.isfile, glob.iglob(given, recursive=True)))
        if not matches:
            raise InputError(f"no file matches {given}")
        fixed = given[: min(given.find(c) for c in "*?[" if c in given)]
        for match in matches:
            yield _absolute(match), _absolute(os.path.dirname(fixed))
    else:
        raise InputError(f"{given} is neither a file nor a folder, and no glob")


def _entry(line: str, place: str) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Path, fields and metadata of a line of a manifest."""
    if not line.lstrip().startswith("{"):
        return _absolute(line.rstrip("\r\n")), {}, {}
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{place} is no JSON: {error}") from None
    if not isinstance(path := entry.pop("path", None), str) or not path:
        raise InputError(f'{place}: expected a "path"')
    fields = {key: entry.pop(key) for key in FIELDS & set(entry)}
    for key, value in fields.items():
        texts = value if key == "keywords" and isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in texts):
            raise InputError(f"{place}: expected text in {key!r}, got {value!r}")
    return _absolute(path), fields, entry


def _absolute(path: str) -> Path:
    """Without `..`, so that no name leads out of the folder of transcripts; links stay."""
    return Path(os.path.abspath(path))


def _name(path: Path, base: Path) -> str:
    base = _absolute(str(base))
    inside = path.is_relative_to(base)
    return (path.relative_to(base) if inside else path.relative_to(path.anchor)).as_posix()
