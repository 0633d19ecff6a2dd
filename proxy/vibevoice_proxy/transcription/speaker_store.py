"""Speakers that clients have enrolled: a JSON file each, in a folder of the operator's choice.

A file holds what tells a voice, a vector of 192 numbers, and no recording. It is named after a
random id, so what a client calls a speaker never becomes part of a path.
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
"""Characters of what refers to the speaker's consent."""
MODEL = "campplus-zh-en"
"""What made the vectors: those of another model cannot be compared with them."""

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
    """The speakers in `folder`, at most `most`; several processes may share it. Each call looks
    into the folder: call it in a thread."""

    def __init__(self, folder: Path, most: int) -> None:
        """Raises OSError when the folder cannot be made."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._most = most
        self._lock = threading.Lock()

    def speakers(self) -> list[EnrolledSpeaker]:
        """All speakers, the oldest first."""
        paths = [path for path in self._folder.glob("*.json") if _FILE.fullmatch(path.stem)]
        found = [speaker for path in paths if (speaker := _read(path))]
        return sorted(found, key=lambda speaker: (speaker.created, speaker.id))

    def add(self, name: str, voice: Voice, consent: str) -> EnrolledSpeaker:
        """Store a speaker.

        Raises InvalidRequest when the name is taken or the store full, StorageFull when the disk
        is.
        """
        with self._lock:
            speakers = self.speakers()
            if find(speakers, name):
                raise InvalidRequest("There is a speaker with this name already.", param="name")
            if len(speakers) >= self._most:
                raise InvalidRequest(
                    f"{self._most} speakers are enrolled, which is the most there may be; delete "
                    "one first.",
                    code="speaker_limit_reached",
                )
            speaker = EnrolledSpeaker(f"speaker_{token_hex(16)}", name, int(time()), consent, voice)
            with storage_errors():
                write_whole(self._folder / f"{speaker.id}.json", _encode(speaker))
        return speaker

    def remove(self, speaker_id: str) -> bool:
        """Whether there was a speaker with this id to remove."""
        with self._lock:
            if not _FILE.fullmatch(speaker_id):
                return False
            path = self._folder / f"{speaker_id}.json"
            with storage_errors():
                existed = path.exists()
                path.unlink(missing_ok=True)
        return existed


def find(speakers: Sequence[EnrolledSpeaker], name: str) -> EnrolledSpeaker | None:
    """The one of `speakers` with this name in any case, or with this id."""
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
            raise ValueError("its vector is another model's")
        vector = np.frombuffer(base64.b64decode(fields["vector"]), _NUMBER).astype(np.float32)
        voice = Voice(vector, float(fields["seconds"]))
        return EnrolledSpeaker(
            path.stem, str(fields["name"]), int(fields["created"]), str(fields["consent"]), voice
        )
    except FileNotFoundError:
        return None  # removed since the folder was listed
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s is not an enrolled speaker: %s", path.name, type(error).__name__)
        return None
