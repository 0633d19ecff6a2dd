"""Finds voices by name in a folder: presets for the Realtime model, recordings for the 1.5B model.

Each voice is a file; its name is the file name without the extension. Names that clients send are
looked up in the folder's listing and never become part of a path.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vibevoice_tts.speech_model import UnknownVoice


@dataclass(frozen=True)
class VoiceTable:
    """The voices of one model.

    `aliases` maps other names to voices that the model may or may not have. If it does not have
    one, the alias means the default voice, so OpenAI's names always work. `default` is the alias or
    name used when a request names none; if it is missing too, the first voice is the default.
    """

    names: tuple[str, ...]
    aliases: Mapping[str, str]
    default: str = "alloy"

    def find(self, name: str) -> str:
        """The voice for `name`: an exact name, an alias, or a unique part of a name. Case matters
        only between names that differ in nothing else.

        Raises:
            UnknownVoice: no voice or more than one matches, or there are no voices.
        """
        if name in self.names:
            return name
        lowered = name.strip().lower()
        if not lowered or lowered in self.aliases:
            return self._alias(lowered or self.default)
        exact = [voice for voice in self.names if voice.lower() == lowered]
        matches = exact or [voice for voice in self.names if lowered in voice.lower()]
        if len(matches) != 1:
            raise UnknownVoice(name, self.names, tuple(matches))
        return matches[0]

    def _alias(self, alias: str) -> str:
        if not self.names:
            raise UnknownVoice(alias, ())
        for candidate in (alias, self.aliases.get(alias), self.aliases.get(self.default)):
            if candidate in self.names:
                return candidate
        return self.names[0]


def voice_files(folder: Path, endings: Iterable[str]) -> dict[str, Path]:
    """Name → file of every voice in a folder, sorted by name; a missing folder has none. If two
    files have the same name, the one whose extension comes first in `endings` is used."""
    files: dict[str, Path] = {}
    for ending in reversed(list(endings)):
        for file in folder.glob(f"*{ending}"):
            if file.is_file() and not file.name.startswith("."):
                files[file.stem] = file
    return dict(sorted(files.items()))
