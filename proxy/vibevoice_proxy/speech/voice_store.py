"""Voices that clients have stored: a FLAC file each, in a folder of the operator's choice.

A file is named after the voice's random id, and its name, time and consent are tags in it. So one
file is written at once or not at all, and what a client calls a voice never becomes part of a path.
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
"""Characters of a voice's name."""
MAX_CONSENT = 200
"""Characters of what refers to the speaker's consent."""

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
        """The recording, mono float32 at 24 kHz; raises OSError when it was removed meanwhile."""
        data = self.path.read_bytes()
        samples, _ = soundfile.read(io.BytesIO(data), dtype="float32")
        return samples


class VoiceStore:
    """The voices in `folder`, at most `max_voices`; several processes may share it. Each call
    looks into the folder: call it in a thread."""

    def __init__(self, folder: Path, max_voices: int) -> None:
        """Raises OSError when the folder cannot be made."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._max_voices = max_voices
        self._lock = threading.Lock()

    def voices(self) -> list[StoredVoice]:
        """All voices, the oldest first."""
        paths = [path for path in self._folder.glob("*.flac") if _FILE.fullmatch(path.stem)]
        found = [voice for path in paths if (voice := _read_tags(path)) is not None]
        return sorted(found, key=lambda voice: (voice.created, voice.id))

    def find(self, name: str) -> StoredVoice | None:
        """The voice with this id, or else with this name in any case."""
        voices = self.voices()
        wanted = name.strip().casefold()
        by_id = (voice for voice in voices if voice.id == name)
        by_name = (voice for voice in voices if voice.name.casefold() == wanted)
        return next(by_id, None) or next(by_name, None)

    def add(self, name: str, samples: Samples, consent: str) -> StoredVoice:
        """Store a recording, mono float32 at 24 kHz.

        Raises InvalidRequest when the name is taken or the store full, StorageFull when the disk
        is.
        """
        with self._lock:
            if self.find(name):
                raise InvalidRequest(f"There is a voice {name!r} already.", param="name")
            if len(self.voices()) >= self._max_voices:
                raise InvalidRequest(
                    f"{self._max_voices} voices are stored, which is the most there may be; "
                    "delete one first.",
                    code="voice_limit_reached",
                )
            created = int(time())
            path = self._folder / f"voice_{token_hex(16)}.flac"
            with storage_errors():
                write_whole(path, _encode(samples, name, created, consent))
        return StoredVoice(path.stem, name, created, consent, len(samples) / SAMPLE_RATE, path)

    def remove(self, voice_id: str) -> bool:
        """Whether there was a voice with this id to remove."""
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
            return None  # removed since the folder was listed
        logger.warning("%s is no stored voice: %s", path.name, error)
        return None
    logger.warning("%s is no stored voice", path.name)
    return None
