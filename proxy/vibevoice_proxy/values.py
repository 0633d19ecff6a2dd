"""Interprets values that clients spell in different ways."""

import json
import re
from collections.abc import Sequence
from typing import Any

from vibevoice_proxy.charsets import whole_characters

_NOT_GIVEN = frozenset({"", "undefined", "null", "none", "nil", "(null)", "<null>", '""', "''"})
"""What dynamically typed languages write for an unset variable."""
_LONGEST = max(map(len, _NOT_GIVEN)) + 20
_AUTOMATIC = frozenset(
    {
        *("auto", "automatic", "autodetect", "auto-detect", "auto_detect", "auto detect"),
        *("detect", "detect language", "detect-language", "detect_language", "any", "default"),
        *("unknown", "und", "mul", "multi", "multilingual"),
    }
)
_NUMBERED = re.compile(r"\[\d*\]\Z")


def length_in_words(seconds: float) -> str:
    """A duration for messages: in seconds up to two minutes, above that in minutes."""
    return f"{seconds:g} seconds" if seconds <= 120 else f"{seconds / 60:g} minutes"


def is_given(text: str) -> bool:
    """Whether `text` is a value; `undefined`, `null` and the like are not."""
    return len(text) > _LONGEST or text.strip().casefold() not in _NOT_GIVEN


def is_number_given(text: str) -> bool:
    """Whether a number is given; NaN does not count."""
    return is_given(text) and text.strip().casefold() not in ("nan", "+nan", "-nan")


def is_language_given(text: str) -> bool:
    """Whether a language is named, rather than automatic detection requested."""
    return is_given(text) and text.strip().casefold() not in _AUTOMATIC


def only_language(possible: Sequence[str]) -> str | None:
    """The language of a recording, if only one is `possible`."""
    return possible[0] if len(set(possible)) == 1 else None


def field_name(key: str) -> str:
    """The field name for a form key: `keywords` for `keywords[]` and `keywords[0]`."""
    return _NUMBERED.sub("", key.strip())


def plain(text: str) -> str:
    """`text` without surrounding space or a surrounding pair of quotes."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1].strip()
    return text


def items_of(text: str, *, separated: bool) -> list[str]:
    """The items of a list given as one value: a JSON array or, if `separated`, a comma-separated
    list."""
    stripped = text.strip()
    if stripped.startswith("[") and stripped.endswith("]"):
        found = _array(stripped)
        if found is not None:
            return found
    if not separated:
        return [text]
    return [plain(item) for item in stripped.strip("[]").split(",")]


def _array(text: str) -> list[str] | None:
    """The items of a JSON array; None if `text` is not one."""
    try:
        found: Any = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list):
        return None
    return [
        whole_characters(item) if isinstance(item, str) else json.dumps(item)
        for item in found
        if item is not None
    ]
