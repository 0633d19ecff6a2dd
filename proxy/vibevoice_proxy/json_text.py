"""Lenient JSON parsing with error messages that include the position."""

import json
import re
from collections.abc import Iterator
from math import isfinite
from typing import Any

from vibevoice_proxy.charsets import (
    UndecodableText,
    charset_of,
    codec_of,
    decode_text,
    is_wide,
    marked_codec,
    whole_characters,
)
from vibevoice_proxy.errors import InvalidRequest

_KINDS = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}


class BadJson(ValueError):
    """The text is not valid JSON."""

    def __init__(self, reason: str, at: int | None = None) -> None:
        """`reason`: without a final period. `at`: the character offset from 0, if known."""
        super().__init__(reason)
        self.at = at


def is_json_type(media_type: str) -> bool:
    """Whether a media type, in lower case and without parameters, means JSON."""
    return media_type in ("application/json", "text/json") or media_type.endswith("+json")


def looks_like_json(data: bytes) -> bool:
    """Whether a body that begins with `data` may be a JSON object, in any charset."""
    return data.lstrip(b"\xef\xbb\xbf\xfe\xff\0 \t\r\n").startswith(b"{")


def json_charset(head: bytes, declared: str) -> str:
    """The charset of a JSON text that begins with `head` (4 bytes, or all of it): detected from the
    bytes, or else as `declared`. JSON begins with ASCII, so UTF-16 and UTF-32 are detectable."""
    if head and is_wide(found := marked_codec(head) or json.detect_encoding(head)):
        return found
    return "" if is_wide(codec_of(declared)) else declared


def parse_json(text: str) -> Any:
    """Parse `text`. Control characters in strings are accepted, and lone surrogates are dropped.
    Raises BadJson."""
    try:
        return _cleaned(json.loads(text, strict=False))
    except json.JSONDecodeError as error:
        reason = re.sub(r"( starting)? at$|: ?$", "", error.msg)
        raise BadJson(reason, error.pos) from error
    except RecursionError as error:
        raise BadJson("it is nested too deeply") from error
    except ValueError as error:
        raise BadJson("a number has too many digits") from error


def as_object(value: Any, expected: str) -> dict[str, Any]:
    """Check that `value`, a parsed body, is an object. `expected`: its expected contents.

    Raises InvalidRequest for any other kind of value, and for numbers that are not valid JSON.
    """
    if not isinstance(value, dict):
        kind = "null" if value is None else f"a JSON {_KINDS[type(value)]}"
        raise invalid_json(f"The body is {kind}; expected a JSON object with {expected}.")
    for key, item in value.items():
        for number in _numbers(item):
            if not isfinite(number):
                name = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(number)]
                raise InvalidRequest(
                    f"Invalid value for {key[:100]}: {name} is not a valid JSON number.",
                    param=key[:100],
                )
    return value


def parse_body(body: bytes, content_type: str, expected: str) -> dict[str, Any]:
    """Parse a complete `body` as a JSON object; the InvalidRequest that it raises says what is
    wrong and where. `expected`: the expected contents."""
    if not body.strip():
        raise invalid_json(f"The body is empty; expected a JSON object with {expected}.")
    try:
        text = decode_text(body, json_charset(body[:4], charset_of(content_type)))
    except UndecodableText as error:
        raise invalid_json(f"The body is {error}.") from error
    text = text.removeprefix("\ufeff")
    try:
        value = parse_json(text)
    except BadJson as error:
        where = "" if error.at is None else f" at {_place(text, error.at)}"
        raise invalid_json(
            f"The body is not valid JSON{where}: {error}. Expected a JSON object with {expected}."
        ) from error
    return as_object(value, expected)


def invalid_json(message: str) -> InvalidRequest:
    """The error for a body that is not the expected JSON."""
    return InvalidRequest(message, code="invalid_json")


def _place(text: str, at: int) -> str:
    line = text.count("\n", 0, at) + 1
    return f"line {line}, column {at - text.rfind(chr(10), 0, at)}"


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {whole_characters(key): _cleaned(item) for key, item in value.items()}
    return value


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _numbers(item)
