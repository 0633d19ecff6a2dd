"""Enrolled speakers: one JSON file each, in a folder that the operator chooses.

A file contains a vector of 192 numbers that identifies the voice, and no audio. Its name is a
random id, so names from clients never become part of a path.
"""

import base64
import json
import logging
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from time import time

import numpy as np

from vibevoice_proxy.errors import InvalidRequest, storage_errors
from vibevoice_proxy.transcription.voices import Voice
from vibevoice_proxy.whole_files import write_whole

MAX_CONSENT = 200
"""Maximum length of the consent reference, in characters."""
MODEL = "campplus-zh-en"
"""The model that computed the vectors. Vectors of different models cannot be compared."""

_FILE = re.compile(r"speaker_[0-9a-f]{32}")
_NUMBER = np.dtype("<f4")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EnrolledSpeaker:
    """A speaker in the store."""

    id: str
    name: str
    created: int
    """Unix time in seconds."""
    consent: str
    voice: Voice


class SpeakerStore:
    """Up to `most` speakers in `folder`, which several processes may share. Every call reads the
    folder, so call it in a thread."""

    def __init__(self, folder: Path, most: int) -> None:
        """Raises OSError if the folder cannot be created."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._most = most
        self._lock = threading.Lock()

    def speakers(self) -> list[EnrolledSpeaker]:
        """All speakers, oldest first."""
        paths = [path for path in self._folder.glob("*.json") if _FILE.fullmatch(path.stem)]
        found = [speaker for path in paths if (speaker := _read(path))]
        return sorted(found, key=lambda speaker: (speaker.created, speaker.id))

    def add(self, name: str, voice: Voice, consent: str) -> EnrolledSpeaker:
        """Store a speaker.

        Raises InvalidRequest if the name is taken or the store is full, StorageFull if the disk is
        full.
        """
        with self._lock:
            speakers = self.speakers()
            if find(speakers, name):
                raise InvalidRequest("A speaker with this name already exists.", param="name")
            if len(speakers) >= self._most:
                raise InvalidRequest(
                    f"The maximum of {self._most} speakers are enrolled; delete one first.",
                    code="speaker_limit_reached",
                )
            speaker = EnrolledSpeaker(f"speaker_{token_hex(16)}", name, int(time()), consent, voice)
            with storage_errors():
                write_whole(self._folder / f"{speaker.id}.json", _encode(speaker))
        return speaker

    def remove(self, speaker_id: str) -> bool:
        """Remove a speaker; return whether there was one with this id."""
        with self._lock:
            if not _FILE.fullmatch(speaker_id):
                return False
            path = self._folder / f"{speaker_id}.json"
            with storage_errors():
                existed = path.exists()
                path.unlink(missing_ok=True)
        return existed


def find(speakers: Sequence[EnrolledSpeaker], name: str) -> EnrolledSpeaker | None:
    """The speaker with this id, or with this name (case-insensitive)."""
    wanted = name.casefold()
    return next((one for one in speakers if wanted in (one.name.casefold(), one.id)), None)


def _encode(speaker: EnrolledSpeaker) -> bytes:
    vector = speaker.voice.vector.astype(_NUMBER).tobytes()
    fields = {
        "name": speaker.name,
        "created": speaker.created,
        "consent": speaker.consent,
        "model": MODEL,
        "seconds": speaker.voice.seconds,
        "vector": base64.b64encode(vector).decode(),
    }
    return json.dumps(fields).encode()


def _read(path: Path) -> EnrolledSpeaker | None:
    try:
        fields = json.loads(path.read_bytes())
        if fields["model"] != MODEL:
            raise ValueError("the vector is from another model")
        vector = np.frombuffer(base64.b64decode(fields["vector"]), _NUMBER).astype(np.float32)
        voice = Voice(vector, float(fields["seconds"]))
        return EnrolledSpeaker(
            path.stem, str(fields["name"]), int(fields["created"]), str(fields["consent"]), voice
        )
    except FileNotFoundError:
        return None  # removed after the folder was listed
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s is not an enrolled speaker: %s", path.name, type(error).__name__)
        return None
