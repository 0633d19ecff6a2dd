"""Voices stored by clients: one FLAC file each, in a folder that the operator chooses.

The file name is the voice's random id; the voice's name, creation time and consent are tags in the
file. So a voice is written completely or not at all, and names from clients never become part of a
path.
"""

import io
import logging
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from time import time

import soundfile

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_proxy.errors import InvalidRequest, storage_errors
from vibevoice_proxy.whole_files import write_whole
from vibevoice_tts import Samples

MAX_NAME = 100
"""Maximum characters in a voice's name."""
MAX_CONSENT = 200
"""Maximum characters in the consent reference."""

_FILE = re.compile(r"voice_[0-9a-f]{32}")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredVoice:
    """A voice in the store."""

    id: str
    name: str
    created: int
    """Unix time in seconds."""
    consent: str
    seconds: float
    path: Path

    def read(self) -> Samples:
        """Read the recording, mono float32 at 24 kHz; raises OSError if it was deleted in the
        meantime."""
        data = self.path.read_bytes()
        samples, _ = soundfile.read(io.BytesIO(data), dtype="float32")
        return samples


class VoiceStore:
    """Up to `max_voices` voices in `folder`, which several processes may share. Every call reads
    the folder, so call it in a thread."""

    def __init__(self, folder: Path, max_voices: int) -> None:
        """Raises OSError if the folder cannot be created."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._max_voices = max_voices
        self._lock = threading.Lock()

    def voices(self) -> list[StoredVoice]:
        """All voices, oldest first."""
        paths = [path for path in self._folder.glob("*.flac") if _FILE.fullmatch(path.stem)]
        found = [voice for path in paths if (voice := _read_tags(path)) is not None]
        return sorted(found, key=lambda voice: (voice.created, voice.id))

    def find(self, name: str) -> StoredVoice | None:
        """The voice with this id, or with this name (case-insensitive)."""
        voices = self.voices()
        wanted = name.strip().casefold()
        by_id = (voice for voice in voices if voice.id == name)
        by_name = (voice for voice in voices if voice.name.casefold() == wanted)
        return next(by_id, None) or next(by_name, None)

    def add(self, name: str, samples: Samples, consent: str) -> StoredVoice:
        """Store a recording, mono float32 at 24 kHz. Raises InvalidRequest if the name is taken or
        the store is full, StorageFull if the disk is full.
        """
        with self._lock:
            if self.find(name):
                raise InvalidRequest(
                    f"A voice with the name {name!r} already exists.", param="name"
                )
            if len(self.voices()) >= self._max_voices:
                raise InvalidRequest(
                    f"The maximum of {self._max_voices} voices are stored; delete one first.",
                    code="voice_limit_reached",
                )
            created = int(time())
            path = self._folder / f"voice_{token_hex(16)}.flac"
            with storage_errors():
                write_whole(path, _encode(samples, name, created, consent))
        return StoredVoice(path.stem, name, created, consent, len(samples) / SAMPLE_RATE, path)

    def remove(self, voice_id: str) -> bool:
        """Delete a voice; return whether there was one with this id."""
        with self._lock:
            for voice in self.voices():
                if voice.id == voice_id:
                    with storage_errors():
                        voice.path.unlink(missing_ok=True)
                    return True
        return False


def _encode(samples: Samples, name: str, created: int, consent: str) -> bytes:
    content = io.BytesIO()
    with soundfile.SoundFile(content, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as file:
        file.title, file.date = name, str(created)
        if consent:  # an empty tag is an error
            file.comment = consent
        file.write(samples)
    return content.getvalue()


def _read_tags(path: Path) -> StoredVoice | None:
    try:
        with soundfile.SoundFile(path) as file:
            if file.samplerate == SAMPLE_RATE and file.channels == 1 and file.date.isdecimal():
                seconds = file.frames / SAMPLE_RATE
                created = int(file.date)
                return StoredVoice(path.stem, file.title, created, file.comment, seconds, path)
    except soundfile.LibsndfileError as error:
        if not path.exists():
            return None  # removed after the folder was listed
        logger.warning("%s is not a stored voice: %s", path.name, error)
        return None
    logger.warning("%s is not a stored voice", path.name)
    return None
