"""Known speakers: a folder of short recordings, each named after the person who speaks in it."""

import base64
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vibevoice_batch.errors import InputError
from vibevoice_batch.recordings import EXTENSIONS

MAX_BYTES = 9 * 1024 * 1024
"""Of all references together: the proxy takes 12 MiB of text fields, and base64 adds a third."""
FIELD = "speakers"
"""Stands for the references among the fields of a recording in the journal."""


@dataclass(frozen=True, slots=True)
class KnownSpeakers:
    """Who may be heard in the recordings."""

    references: Mapping[str, str] = field(default_factory=dict)
    """Name → data URL of a recording of 2 to 10 s."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Name → SHA-256 of the recording: with another one, recordings are transcribed again."""

    @property
    def form(self) -> dict[str, list[str]]:
        """The fields of OpenAI's API; none where nobody is known."""
        if not self.references:
            return {}
        return {
            "known_speaker_names[]": list(self.references),
            "known_speaker_references[]": list(self.references.values()),
        }


def read_speakers(folder: Path) -> KnownSpeakers:
    """The recordings directly in `folder`; `Ann Lee.wav` is Ann Lee's.

    Raises InputError: it is no folder, holds no recording, two of one name, or too much.
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
            f"--speakers {folder} holds no recordings; expected one for each person, such as "
            "Ann.wav"
        )
    references: dict[str, str] = {}
    digests: dict[str, str] = {}
    size = 0
    for file in files:
        name = file.stem.strip()
        if name.casefold() in (other.casefold() for other in references):
            raise InputError(f"--speakers {folder} holds two recordings of {name}")
        try:
            size += file.stat().st_size
            if size > MAX_BYTES:
                raise InputError(
                    f"--speakers {folder} holds more than {MAX_BYTES // 2**20} MiB; expected 2 to "
                    "10 seconds of each person"
                )
            data = file.read_bytes()
        except OSError as error:
            raise InputError(f"--speakers {file} cannot be read: {error.strerror}") from error
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        references[name] = f"data:{kind};base64,{base64.b64encode(data).decode()}"
        digests[name] = hashlib.sha256(data).hexdigest()
    return KnownSpeakers(references, digests)
