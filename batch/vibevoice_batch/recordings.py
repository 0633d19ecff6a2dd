"""The recordings found in the inputs, their names, and everything else that was found."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXTENSIONS = frozenset(
    ".3g2 .3gp .aac .ac3 .aif .aifc .aiff .amr .ape .asf .au .avi .caf .dss .flac .flv .gsm .m2ts "
    ".m4a .m4b .m4v .mka .mkv .mov .mp2 .mp3 .mp4 .mpeg .mpg .mpga .mts .mxf .oga .ogg .ogv .opus "
    ".ra .snd .spx .ts .vob .voc .vox .w64 .wav .webm .wma .wmv .wv".split()
)
"""Extensions of recordings in folders. The server looks only at the content, never the name."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One file to transcribe."""

    name: str
    """Relative path with `/`, used to name its transcripts."""
    path: Path
    """Absolute."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Sent to the server with the recording: the keys in manifests.FIELDS, the model unless it is
    the default, and known speakers (here, only the hashes of their references)."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """All other keys of its line in the manifest."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the inputs contain: everything in them is in one of these lists."""

    recordings: list[Recording] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    """(input, reason) of inputs that cannot be transcribed."""
    skipped: list[Path] = field(default_factory=list)
    """Files in folders whose extension is not that of a recording."""
    hidden: list[Path] = field(default_factory=list)
    """Hidden files and folders (names that begin with a dot)."""
    ours: list[Path] = field(default_factory=list)
    """Files written by earlier runs."""
    again: list[Path] = field(default_factory=list)
    """Links to folders whose recordings are included under another path."""
    comments: list[str] = field(default_factory=list)
    """Places in manifests of lines that begin with # and are not the path of a file."""


def absolute(path: str | Path) -> Path:
    """Remove `..` from a path, so that no name leads out of the folder of transcripts. Links are
    kept, except before a `..`, where the system resolves them first."""
    text = os.path.join(os.getcwd(), path)
    parts = text.split("/")
    if ".." in parts:
        last = len(parts) - parts[::-1].index("..")
        text = os.path.join(os.path.realpath("/".join(parts[:last])), *parts[last:])
    return Path(os.path.abspath(text))


def name_of(path: Path, base: Path) -> str:
    """The path relative to `base`, or to the root if it is not below `base`."""
    base = absolute(base)
    inside = path.is_relative_to(base)
    return (path.relative_to(base) if inside else path.relative_to(path.anchor)).as_posix()
