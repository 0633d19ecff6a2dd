"""Voices by name: Realtime's presets and the 1.5B model's recordings, from one folder each.

A voice is a file of the folder; its name is the file's without the ending. Names that clients send
are looked up in the list of the folder and never become part of a path.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from vibevoice_tts.engine import UnknownVoice

REALTIME_ALIASES = {
    "alloy": "en-Emma_woman",
    "ash": "en-Carter_man",
    "ballad": "en-Davis_man",
    "cedar": "en-Davis_man",
    "coral": "en-Grace_woman",
    "echo": "en-Mike_man",
    "fable": "in-Samuel_man",
    "marin": "en-Grace_woman",
    "nova": "en-Grace_woman",
    "onyx": "en-Frank_man",
    "sage": "en-Emma_woman",
    "shimmer": "en-Emma_woman",
    "verse": "en-Mike_man",
}
"""OpenAI's voices → Microsoft's presets for the Realtime model, by how they are usually heard."""

FULL_ALIASES = {
    "alloy": "en-Maya_woman",
    "ash": "en-Carter_man",
    "ballad": "en-Frank_man",
    "cedar": "en-Frank_man",
    "coral": "en-Maya_woman",
    "echo": "en-Carter_man",
    "fable": "in-Samuel_man",
    "marin": "en-Maya_woman",
    "nova": "en-Alice_woman",
    "onyx": "en-Frank_man",
    "sage": "en-Maya_woman",
    "shimmer": "en-Alice_woman",
    "verse": "en-Carter_man",
}
"""OpenAI's voices → the recordings that the 1.5B model was published with."""


@dataclass(frozen=True)
class VoiceTable:
    """The voices of one engine.

    `aliases` maps other names to voices that may or may not be there; where one is not, the alias
    means the default voice, so that OpenAI's names always work. `default` is the alias or name
    used when a request names none; if it is not there, the first voice is the default.
    """

    names: tuple[str, ...]
    aliases: Mapping[str, str]
    default: str = "alloy"

    def find(self, name: str) -> str:
        """The voice that a name means: itself, an alias, or the only voice with the name in its
        own, whatever the case.

        Raises:
            UnknownVoice: none or several fit, or there are no voices.
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
    """Name → file of every voice in a folder, sorted by name; an absent folder has none. Of two
    files with one name the first ending in `endings` counts."""
    files: dict[str, Path] = {}
    for ending in reversed(list(endings)):
        for file in folder.glob(f"*{ending}"):
            if file.is_file() and not file.name.startswith("."):
                files[file.stem] = file
    return dict(sorted(files.items()))


Value = TypeVar("Value")


class Lru(Generic[Value]):
    """At most `size` values by key; the one not asked for longest goes first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[str, Value] = OrderedDict()

    def get(self, key: str, make: Callable[[], Value]) -> Value:
        """The value of a key, made if it is not there."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = self._values[key] = make()
        if len(self._values) > self._size:
            self._values.popitem(last=False)
        return value

    def __contains__(self, key: str) -> bool:
        return key in self._values
