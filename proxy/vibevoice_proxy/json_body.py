"""A JSON body with the recording in it, as it arrives: the recording decoded to a file, the rest as
form fields.

Open WebUI sends {"model", "language", "input_audio": {"data": BASE64, "format"}} when told to. The
body of an hour is 100 MB and more, so it is never held whole: the one long string of the body is
taken out of it while it is read.
"""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

from vibevoice_proxy.errors import InvalidRequest

LONG_STRING = 64 * 1024
"""Characters above which a string goes to the file; shorter ones stay where they are."""
MAX_ESCAPE = len("\\u002b")
"""Some writers of JSON escape characters of base64 (`/`, `+`)."""

_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_EXPECTED = 'Expected a JSON object with {"input_audio": {"data": BASE64, "format": NAME}}'


class JsonBody:
    """Takes a JSON body in any split: `feed` gives the bytes of the recording found so far, and
    `finish`, at the end, the last of them and the other fields. Both raise InvalidRequest."""

    def __init__(self, max_text_bytes: int) -> None:
        """`max_text_bytes`: of the body without its long string; 400 above."""
        self._max_text_bytes = max_text_bytes
        self._held = b""
        self._text = bytearray()
        self._in_string = False
        self._string_start = 0
        self._long_strings = 0
        self._is_long = False
        self._base64 = _Base64()

    def feed(self, data: bytes) -> bytes:
        """The bytes of the recording that `data` brings."""
        data = self._held + data
        backslashes = len(data) - len(data.rstrip(b"\\"))
        self._held = data[len(data) - backslashes % 2 :]
        data = data[: len(data) - backslashes % 2]
        found = b""
        at = 0
        while at < len(data):
            if self._in_string:
                match = _IN_STRING.match(data, at)
                end = match.end() if match else at
                found += self._string(data[at:end], ended=end < len(data))
            else:
                end = data.find(b'"', at)
                end = len(data) if end < 0 else end
                self._text += data[at:end]
            if end < len(data):
                self._text += b'"'
                self._in_string = not self._in_string
                self._string_start = len(self._text)
            at = end + 1
            if len(self._text) > self._max_text_bytes:
                raise _invalid(f"Its fields exceed {self._max_text_bytes} bytes.")
        return found

    def finish(self) -> tuple[bytes, list[tuple[str, str]]]:
        """(the last bytes of the recording, the fields as those of a form)."""
        try:
            body: Any = json.loads(self._text + self._held)
        except (ValueError, RecursionError) as error:
            raise _invalid("It is no valid JSON.") from error
        audio = body.pop("input_audio", None) if isinstance(body, dict) else None
        data = audio.get("data") if isinstance(audio, dict) else None
        if not isinstance(data, str) or (data and self._long_strings):
            raise _invalid(f"{_EXPECTED}.")
        return self._base64.decode(data, ended=True), list(_fields(body))

    def _string(self, content: bytes, *, ended: bool) -> bytes:
        """The next `content` of the string being read; its bytes when it is the long one."""
        if not self._is_long:
            self._text += content
            if len(self._text) - self._string_start <= LONG_STRING:
                return b""
            self._is_long = True
            self._long_strings += 1
            if self._long_strings > 1:
                raise _invalid(f"Only one string may be longer than {LONG_STRING} characters.")
            content = bytes(self._text[self._string_start :])
            del self._text[self._string_start :]
        self._is_long = not ended
        return self._base64.feed(content, ended=ended)


class _Base64:
    """Base64 in a JSON string, in any split."""

    def __init__(self) -> None:
        self._raw = b""
        self._digits = b""
        self._has_begun = False

    def feed(self, content: bytes, *, ended: bool) -> bytes:
        """Decodes what is whole in `content`, which is raw: it may have escapes."""
        raw = self._raw + content
        escape = -1 if ended else raw.rfind(b"\\", max(0, len(raw) - MAX_ESCAPE + 1))
        whole = len(raw) if escape < 0 else escape
        self._raw = raw[whole:]
        try:
            text: str = json.loads(b'"' + raw[:whole] + b'"')
        except ValueError as error:
            raise _not_base64() from error
        return self.decode(text, ended=ended)

    def decode(self, text: str, *, ended: bool) -> bytes:
        """Decodes what is whole in `text`; all of it at the end, with or without padding."""
        if not self._has_begun:
            self._has_begun = True
            text = DATA_URL.sub("", text, count=1)
        try:
            digits = self._digits + text.encode("ascii").translate(None, b" \t\r\n")
            whole = len(digits) if ended else len(digits) // 4 * 4
            self._digits = digits[whole:]
            padding = b"=" * (-whole % 4)
            return base64.b64decode(digits[:whole] + padding, validate=True)
        except ValueError as error:
            raise _not_base64() from error


def _fields(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in body.items():
        for item in value if isinstance(value, list) else [value]:
            if item is not None:
                yield name, item if isinstance(item, str) else json.dumps(item)


def _not_base64() -> InvalidRequest:
    return InvalidRequest("input_audio.data is no base64.", param="input_audio")


def _invalid(reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"The JSON body could not be read. {reason}", param="input_audio", code="invalid_json"
    )
