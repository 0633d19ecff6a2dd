"""What a recording is, what it is called, and what was found beside it."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXTENSIONS = frozenset(
    ".3g2 .3gp .aac .ac3 .aif .aifc .aiff .amr .ape .asf .au .avi .caf .dss .flac .flv .gsm .m2ts "
    ".m4a .m4b .m4v .mka .mkv .mov .mp2 .mp3 .mp4 .mpeg .mpg .mpga .mts .mxf .oga .ogg .ogv .opus "
    ".ra .snd .spx .ts .vob .voc .vox .w64 .wav .webm .wma .wmv .wv".split()
)
"""What counts as a recording in a folder. The server looks at the content, never at the name."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One file to transcribe."""

    name: str
    """Relative path with `/`; its transcripts are named after it."""
    path: Path
    """Absolute."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Goes to the server with the recording; keys are of manifests.FIELDS."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """The other keys of its line in the manifest."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the inputs hold: everything in them is in one of these lists."""

    recordings: list[Recording] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    """(what, reason) of what was asked for and cannot be transcribed."""
    skipped: list[Path] = field(default_factory=list)
    """Files in folders that are no recordings by their extension."""
    hidden: list[Path] = field(default_factory=list)
    """Files and folders whose names begin with a dot."""
    ours: list[Path] = field(default_factory=list)
    """Files that earlier runs wrote."""
    again: list[Path] = field(default_factory=list)
    """Links to folders whose recordings are here under another path."""
    comments: list[str] = field(default_factory=list)
    """Places in manifests that begin with # and name no file."""


def absolute(path: str | Path) -> Path:
    """Without `..`, so that no name leads out of the folder of transcripts. Links stay, but for
    those before a `..`, which the system follows first."""
    text = os.path.join(os.getcwd(), path)
    parts = text.split("/")
    if ".." in parts:
        last = len(parts) - parts[::-1].index("..")
        text = os.path.join(os.path.realpath("/".join(parts[:last])), *parts[last:])
    return Path(os.path.abspath(text))


def name_of(path: Path, base: Path) -> str:
    """The path from `base`, or from the root where it is not below."""
    base = absolute(base)
    inside = path.is_relative_to(base)
    return (path.relative_to(base) if inside else path.relative_to(path.anchor)).as_posix()
