"""Reads known speakers from a folder of short recordings that are named after the speakers."""

import base64
import hashlib
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vibevoice_batch.errors import InputError
from vibevoice_batch.recordings import EXTENSIONS

MAX_BYTES = 9 * 1024 * 1024
"""Maximum size of all references: the proxy accepts 12 MiB of text, and base64 adds a third."""
_PLACE = re.compile(r"\b(?:reference|name) (\d+) of known_speaker_(?:reference|name)s\b")
"""Matches the number (from 1) of the reference or name that the proxy's error message is about."""
FIELD = "speakers"
"""Name of the references among the fields of a recording in the journal."""


@dataclass(frozen=True, slots=True)
class KnownSpeakers:
    """Known speakers, who are sent with every recording."""

    references: Mapping[str, str] = field(default_factory=dict)
    """Name → data URL with 2 to 10 s of the voice."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Name → SHA-256 of the reference. If it changes, recordings are transcribed again."""

    files: tuple[Path, ...] = ()
    """The file from which each reference was read."""

    def rejected(self, message: str) -> str:
        """The server's `message` about the speakers, with the file it refers to, if known."""
        place = _PLACE.search(message)
        if place is None or not 1 <= int(place[1]) <= len(self.files):
            return f"the server rejected the speakers: {message}"
        file = self.files[int(place[1]) - 1]
        return f"the server rejected {file}: {message} Replace or remove this file."

    @property
    def form(self) -> dict[str, list[str]]:
        """The fields of OpenAI's API; empty without known speakers."""
        if not self.references:
            return {}
        return {
            "known_speaker_names[]": list(self.references),
            "known_speaker_references[]": list(self.references.values()),
        }


def read_speakers(folder: Path) -> KnownSpeakers:
    """Read the recordings directly in `folder`; `Ann Lee.wav` is the voice of Ann Lee.

    Raises InputError if it is not a folder, has no recordings, has two recordings with the same
    name, or is too large.
    """
    if not folder.is_dir():
        raise InputError(f"--speakers {folder} is not a folder")
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()
    )
    if not files:
        raise InputError(
            f"--speakers {folder} contains no recordings; expected one per person, such as Ann.wav"
        )
    references: dict[str, str] = {}
    digests: dict[str, str] = {}
    size = 0
    for file in files:
        name = file.stem.strip()
        if name.casefold() in (other.casefold() for other in references):
            raise InputError(f"--speakers {folder} contains two recordings of {name}")
        try:
            size += file.stat().st_size
            if size > MAX_BYTES:
                raise InputError(
                    f"--speakers {folder} contains more than {MAX_BYTES // 2**20} MiB; expected 2 "
                    "to 10 seconds of each person"
                )
            data = file.read_bytes()
        except OSError as error:
            raise InputError(f"--speakers {file} cannot be read: {error.strerror}") from error
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        references[name] = f"data:{kind};base64,{base64.b64encode(data).decode()}"
        digests[name] = hashlib.sha256(data).hexdigest()
    return KnownSpeakers(references, digests, tuple(files))
