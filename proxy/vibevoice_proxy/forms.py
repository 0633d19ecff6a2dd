"""Parses a multipart form as it arrives: recordings go to files, everything else is text.

Clients differ in which parts they send as files, so only the field name matters: a recording is in
one of RECORDING_FIELDS or in a part without a name, with or without a filename. Any other field is
text, even if it has a filename; if its content is not text, it is kept as an empty file with its
size. The filename of a recording is None if the client did not mark the part as a file.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import FormData, UploadFile

from vibevoice_proxy.charsets import UndecodableText, charset_of, codec_of, decode_text
from vibevoice_proxy.errors import InvalidRequest
from vibevoice_proxy.values import plain

RECORDING_FIELDS = ("file", "audio_sample")
MAX_FIELDS = 1000
MAX_TEXT_BYTES = 12 * 1024 * 1024
"""Maximum size of all text fields together, which are kept in memory; enough for four speaker
references of 10 s."""
MAX_TEXT_FILE = 64 * 1024
"""Maximum bytes of a text field that is sent as a file."""
_CHARSET_FIELD = "_charset_"
"""The HTML form field that names the charset of the other fields."""
_MEDIA = ("audio/", "video/", "image/")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_FILENAME = re.compile(r";\s*filename(\*\d*\*?)?\s*=", re.IGNORECASE)
_EXTENDED_NAME = re.compile(r";\s*name\*\s*=\s*[\w-]*'[\w-]*'([^;\s]+)", re.IGNORECASE)


@dataclass
class _Part:
    """A part being read."""

    headers: dict[str, str] = field(default_factory=dict)
    name: str = ""
    is_file: bool = False
    """Whether the client marked it as a file."""
    is_recording: bool = False
    data: bytearray = field(default_factory=bytearray)
    """Content of a text field."""
    size: int = 0
    """Bytes received so far."""
    upload: UploadFile | None = None
    """File of a recording, once its first byte has arrived."""


class FormReader:
    """Parses a form from chunks of any size: call `feed`, then `finish`; call `close` on errors."""

    def __init__(self, content_type: str, new_file: Callable[[], BinaryIO]) -> None:
        """`new_file`: creates the file for the recording. Raises InvalidRequest if `content_type`
        has no boundary."""
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise _malformed(
                "The Content-Type has no boundary; let the HTTP library set that header"
            )
        self._charset = charset_of(content_type)
        self._new_file = new_file
        self._read = 0
        self._ended = False
        self._parts: list[_Part] = []
        self._text_bytes = 0
        self._recording: UploadFile | None = None
        self._to_write: list[bytes] = []
        self._header = [bytearray(), bytearray()]
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_header_name,
                    "on_header_value": self._add_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_data,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _malformed(str(error)) from error

    async def feed(self, data: bytes) -> None:
        """Parse the next `data`; raises InvalidRequest, and OSError from the file."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            at = self._read + max(0, getattr(error, "offset", 0))
            raise _malformed(
                f"Invalid multipart data at byte {at}; expected parts separated by the boundary "
                "from the Content-Type, and lines that end in CRLF"
            ) from error
        self._read += len(data)
        if self._recording is not None and self._to_write:
            await self._recording.write(b"".join(self._to_write))
            self._to_write.clear()

    async def finish(self) -> FormData:
        """End the input and return the form; raises InvalidRequest."""
        if not self._ended:
            raise _malformed("It ends before its final boundary")
        if self._recording is not None:
            await self._recording.seek(0)
        charset = self._charset
        for part in self._parts:
            if part.name == _CHARSET_FIELD:
                charset = bytes(part.data[:100]).decode("latin-1").strip()
        return FormData([(part.name, _value(part, charset)) for part in self._parts])

    def close(self) -> None:
        """Remove the recording."""
        if self._recording is not None:
            self._recording.file.close()

    def _begin_part(self) -> None:
        if len(self._parts) >= MAX_FIELDS:
            raise _malformed(f"It has more than {MAX_FIELDS} fields")
        self._parts.append(_Part())

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _end_header(self) -> None:
        name, value = (decode_leniently(bytes(part)) for part in self._header)
        self._parts[-1].headers[name.lower()] = value
        self._header = [bytearray(), bytearray()]

    def _end_headers(self) -> None:
        part = self._parts[-1]
        disposition = part.headers.get("content-disposition", "")
        media_type = part.headers.get("content-type", "").strip().lower()
        part.name = name_in(disposition)
        part.is_file = has_filename(disposition) or media_type.startswith(_MEDIA)
        is_nameless_file = not part.name and (part.is_file or media_type.endswith("/octet-stream"))
        part.is_recording = is_nameless_file or part.name in RECORDING_FIELDS
        if not part.name and not is_nameless_file:
            raise _malformed('A part has no name; its Content-Disposition needs name="FIELD"')

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        part = self._parts[-1]
        part.size += end - start
        if part.is_recording:
            if self._recording is None:
                filename = "" if part.is_file else None
                self._recording = part.upload = UploadFile(
                    self._new_file(), size=0, filename=filename
                )
            if part.upload is not None:
                self._to_write.append(data[start:end])
            return
        if part.is_file and part.size > MAX_TEXT_FILE:
            self._text_bytes -= len(part.data)
            part.data.clear()
            return
        part.data += data[start:end]
        self._text_bytes += end - start
        if self._text_bytes > MAX_TEXT_BYTES:
            raise _malformed(
                f"The text fields exceed {MAX_TEXT_BYTES} bytes in total, at {part.name[:100]!r}. "
                f"Only a part named {RECORDING_FIELDS[0]} may be larger"
            )

    def _end(self) -> None:
        self._ended = True


def decode_leniently(data: bytes, charset: str = "") -> str:
    """Like `decode_text`, except that text that is not valid UTF-8 and has no declared charset is
    decoded as Windows-1252. Raises UndecodableText."""
    try:
        return decode_text(data, charset)
    except UndecodableText:
        if codec_of(charset) != "utf-8":
            raise
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def name_in(disposition: str) -> str:
    """The field name in a Content-Disposition, also from `name*=` (RFC 5987); empty for none."""
    _, options = parse_options_header(disposition.encode("utf-8"))
    if found := _EXTENDED_NAME.search(disposition):
        return unquote(found[1])
    return plain(options.get(b"name", b"").decode("utf-8", "replace"))


def has_filename(disposition: str) -> bool:
    """Whether a Content-Disposition has a filename in any form (`filename*=`, `filename*0=`)."""
    return _FILENAME.search(disposition) is not None


def _value(part: _Part, charset: str) -> str | UploadFile:
    """The text of a part, or its file; raises InvalidRequest if the text cannot be decoded."""
    if part.upload is not None:
        return part.upload
    text = None if part.is_recording else _text(part, charset)
    return UploadFile(io.BytesIO(), size=part.size, filename="") if text is None else text


def _text(part: _Part, charset: str) -> str | None:
    """The text of a part; None for a file that is not text."""
    if not part.is_file:
        return _decoded(part, charset)
    if part.size > MAX_TEXT_FILE:
        return None
    if part.size and part.headers.get("content-type", "").strip().lower().startswith(_MEDIA):
        return None
    text = _decoded(part, charset)
    return None if _CONTROL.search(text) else text


def _decoded(part: _Part, charset: str) -> str:
    declared = charset_of(part.headers.get("content-type", "")) or charset
    try:
        return decode_leniently(bytes(part.data), declared)
    except UndecodableText as error:
        name = part.name[:100]
        raise InvalidRequest(f"The field {name} is {error}.", param=name) from error


def _malformed(reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"The multipart body could not be read: {reason}.", code="invalid_multipart"
    )
