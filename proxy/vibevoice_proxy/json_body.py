"""Parses a JSON body with a base64 recording as it arrives: decodes the recording and returns the
rest as form fields.

Open WebUI can be configured to send {"model", "language", "input_audio": {"data": BASE64,
"format"}}. The body for an hour is over 100 MB, so it is never held in memory as a whole: the one
long string is extracted while the body is read.
"""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

from vibevoice_proxy.charsets import UndecodableText, codec_of, decode_text, is_wide
from vibevoice_proxy.errors import InvalidRequest
from vibevoice_proxy.json_text import BadJson, as_object, invalid_json, json_charset, parse_json

LONG_STRING = 64 * 1024
"""A longer string goes to the file; shorter ones stay in the JSON text."""
MAX_ESCAPE = len("\\u002b")
"""Some JSON encoders escape characters of base64 (`/`, `+`)."""

_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_URL = re.compile(r"\s*[a-z][a-z0-9+.-]{1,20}://", re.IGNORECASE)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_EXPECTED = '{"input_audio": {"data": BASE64, "format": NAME}}'
_HEAD = 4
"""Number of bytes needed to detect the charset of a JSON text."""
_ASCII = bytes(range(128))


class JsonBody:
    """Parses a JSON body from chunks of any size: `feed` returns the next decoded bytes of the
    recording; `finish` returns the last ones and the other fields. Both raise InvalidRequest."""

    def __init__(self, max_text_bytes: int, charset: str = "") -> None:
        """`max_text_bytes`: limit for the body without its long string. `charset`: the charset
        that the Content-Type declares."""
        self._max_text_bytes = max_text_bytes
        self._charset = charset
        self._has_begun = False
        self._held = b""
        self._text = bytearray()
        self._in_string = False
        self._string_start = 0
        self._long_strings = 0
        self._is_long = False
        self._cut_at = 0
        """Position of the long string in the text."""
        self._cut_bytes = 0
        self._base64 = _Base64()

    def feed(self, data: bytes) -> bytes:
        """Parse the next `data` and return the recording's bytes decoded from it."""
        data = self._held + data
        if not self._has_begun:
            if len(data) < _HEAD:
                self._held = data
                return b""
            self._begin(data[:_HEAD])
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
        """Return (the last bytes of the recording, the other fields as form fields)."""
        if not self._has_begun:
            self._begin(self._held)
        self._text += self._held
        body = as_object(self._parse(), _EXPECTED)
        audio = body.pop("input_audio", None)
        data = audio.get("data") if isinstance(audio, dict) else None
        if not isinstance(data, str):
            raise _invalid(f"Expected a JSON object with {_EXPECTED}.", param="input_audio")
        if data and self._long_strings:
            raise _invalid(f"Only input_audio.data may be longer than {LONG_STRING} characters.")
        return self._base64.decode(data, ended=True), list(_fields(body))

    def _begin(self, head: bytes) -> None:
        """Detect the charset from the first bytes; raises InvalidRequest if text in it cannot be
        parsed incrementally."""
        self._has_begun = True
        self._charset = json_charset(head, self._charset)
        codec = codec_of(self._charset) or "utf-8"
        if is_wide(codec) or not _keeps_ascii(codec):
            raise _invalid(f"A body with a recording cannot be {self._charset}; send UTF-8.")

    def _parse(self) -> Any:
        """Parse the text without the long string."""
        if not self._text.strip():
            raise invalid_json(f"The body is empty; expected a JSON object with {_EXPECTED}.")
        try:
            text = decode_text(bytes(self._text), self._charset)
        except UndecodableText as error:
            told = str(error).replace(f"byte {error.at}", f"byte {self._place(error.at)}", 1)
            raise invalid_json(f"The JSON body is {told}.") from error
        try:
            return parse_json(text)
        except BadJson as error:
            where = ""
            if error.at is not None:
                before = text[: error.at].encode(codec_of(self._charset) or "utf-8")
                mark = 3 if self._text.startswith(b"\xef\xbb\xbf") else 0
                where = f" at byte {self._place(len(before) + mark)}"
            raise _invalid(f"It is not valid JSON{where}: {error}.") from error

    def _place(self, at: int) -> int:
        """The byte offset in the body for the byte offset `at` in the text."""
        return at if at <= self._cut_at else at + self._cut_bytes

    def _string(self, content: bytes, *, ended: bool) -> bytes:
        """Add `content` to the current string; return decoded bytes if it is the long one."""
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
            self._cut_at = self._string_start
        self._cut_bytes += len(content)
        self._is_long = not ended
        return self._base64.feed(content, ended=ended)


class _Base64:
    """Decodes base64 in a JSON string from chunks of any size."""

    def __init__(self) -> None:
        self._raw = b""
        self._digits = b""
        self._has_begun = False

    def feed(self, content: bytes, *, ended: bool) -> bytes:
        """Decode the complete part of `content`, which is raw and may contain escapes."""
        raw = self._raw + content
        escape = -1 if ended else raw.rfind(b"\\", max(0, len(raw) - MAX_ESCAPE + 1))
        whole = len(raw) if escape < 0 else escape
        self._raw = raw[whole:]
        try:
            text: str = json.loads(f'"{raw[:whole].decode("ascii")}"', strict=False)
        except ValueError as error:
            raise _not_base64() from error
        return self.decode(text, ended=ended)

    def decode(self, text: str, *, ended: bool) -> bytes:
        """Decode the complete part of `text`; at the end, all of it, with or without padding."""
        if not self._has_begun:
            self._has_begun = True
            if _URL.match(text):
                raise InvalidRequest(
                    "input_audio.data is a URL, which is not fetched; expected base64.",
                    param="input_audio",
                )
            text = DATA_URL.sub("", text, count=1)
        try:
            digits = self._digits + text.encode("ascii").translate(_URL_SAFE, b" \t\r\n")
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
    return InvalidRequest("input_audio.data is not valid base64.", param="input_audio")


def _keeps_ascii(codec: str) -> bool:
    """Whether ASCII bytes always mean ASCII in `codec`, even after another byte, so that a quote
    can be found without decoding."""
    if codec in ("utf-8", "euc_jp", "euc_kr", "gb2312"):
        return True
    every = bytes(range(256)).decode(codec, "replace")
    return len(every) == 256 and every[:128].encode() == _ASCII


def _invalid(reason: str, param: str | None = None) -> InvalidRequest:
    error = invalid_json(f"The JSON body could not be read. {reason}")
    error.param = param
    return error
