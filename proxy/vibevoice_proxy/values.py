"""What clients write for a value: the same thing in many spellings."""

import json
import re
from typing import Any

from vibevoice_proxy.charsets import whole_characters

_NOT_GIVEN = frozenset({"", "undefined", "null", "none", "nil", "(null)", "<null>", '""', "''"})
"""What languages without types write for a variable that holds nothing."""
_LONGEST = max(map(len, _NOT_GIVEN)) + 20
_AUTOMATIC = frozenset(
    {
        *("auto", "automatic", "autodetect", "auto-detect", "auto_detect", "auto detect"),
        *("detect", "detect language", "detect-language", "detect_language", "any", "default"),
        *("unknown", "und", "mul", "multi", "multilingual"),
    }
)
_NUMBERED = re.compile(r"\[\d*\]\Z")


def is_given(text: str) -> bool:
    """Whether `text` says anything; `undefined`, `null` and the like do not."""
    return len(text) > _LONGEST or text.strip().casefold() not in _NOT_GIVEN


def is_number_given(text: str) -> bool:
    """Whether a number is given, which NaN is not."""
    return is_given(text) and text.strip().casefold() not in ("nan", "+nan", "-nan")


def is_language_given(text: str) -> bool:
    """Whether a language is named, and not asked for."""
    return is_given(text) and text.strip().casefold() not in _AUTOMATIC


def field_name(key: str) -> str:
    """The field that a key of a form means: `keywords` for `keywords[]` and `keywords[0]`."""
    return _NUMBERED.sub("", key.strip())


def plain(text: str) -> str:
    """`text` without space or a pair of quotes around it."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1].strip()
    return text


def items_of(text: str, *, separated: bool) -> list[str]:
    """The items of a list that is written as one value: a JSON array or, where they are
    `separated`, names between commas."""
    stripped = text.strip()
    if stripped.startswith("[") and stripped.endswith("]"):
        found = _array(stripped)
        if found is not None:
            return found
    if not separated:
        return [text]
    return [plain(item) for item in stripped.strip("[]").split(",")]


def _array(text: str) -> list[str] | None:
    """The items of a JSON array; None for what is none."""
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
