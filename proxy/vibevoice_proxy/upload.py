"""Receives a form with one recording, as multipart or JSON, with limits on size and time."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

import anyio
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from vibevoice_proxy.charsets import charset_of
from vibevoice_proxy.errors import (
    InvalidAudio,
    InvalidRequest,
    RequestTimeout,
    UnsupportedMediaType,
    UploadTooLarge,
    storage_errors,
)
from vibevoice_proxy.forms import MAX_TEXT_BYTES, FormReader
from vibevoice_proxy.json_body import JsonBody
from vibevoice_proxy.json_text import is_json_type, looks_like_json

IN_MEMORY_BYTES = 2 * 1024 * 1024
"""Uploads up to this size, such as half a minute of WAV, stay in memory."""

_UNTYPED = ("", "application/x-www-form-urlencoded", "text/plain")
"""Media types that clients send by default."""
_URL = re.compile(rb"\s*(?:[a-z][a-z0-9+.-]{1,20}://|data:[^,]{0,200},)", re.IGNORECASE)
_BASE64 = re.compile(rb"[A-Za-z0-9+/_=\r\n-]{40,}")
_TEXT = re.compile(rb"[^\x00-\x08\x0e-\x1f\x7f]+")
"""Text in any encoding; the beginning of a recording has control characters."""
_BEGINNING = 1024
"""Number of bytes of a file that are checked."""


@asynccontextmanager
async def receive_form(
    request: Request, max_bytes: int, *, timeout: float, spool_dir: str | None
) -> AsyncIterator[FormData]:
    """Read the form of `request`. Its file goes to an unnamed temporary file in `spool_dir` (None:
    the system's default), which is removed at the end. `timeout`: maximum seconds between chunks.

    Raises UploadTooLarge as soon as the body is known to exceed `max_bytes` (if the client sends a
    Content-Length, before reading it); UnsupportedMediaType and InvalidRequest if the body is not
    such a form; RequestTimeout if the client stops sending; StorageError if the temporary file
    cannot be written.
    """
    content_type = request.headers.get("content-type", "")
    media_type = media_type_of(content_type)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    async with aclosing(_counted(request, max_bytes, timeout)) as chunks:
        with storage_errors():
            if media_type == "multipart/form-data":
                form = await _read_form(chunks, content_type, spool_dir)
            else:
                first = await _first_of_json(chunks, media_type)
                form = await _read_json(first, chunks, charset_of(content_type), spool_dir)
    try:
        yield form
    finally:
        # form.close() would close the files in a thread; this must also work when cancelled.
        for _, value in form.multi_items():
            if isinstance(value, UploadFile):
                value.file.close()


def media_type_of(content_type: str) -> str:
    """The media type of a Content-Type, in lower case and without parameters."""
    return content_type.partition(";")[0].strip().lower()


async def receive_body(request: Request, max_bytes: int, *, timeout: float) -> bytes:
    """The whole body of `request`; raises UploadTooLarge and RequestTimeout like `receive_form`."""
    return b"".join([chunk async for chunk in _counted(request, max_bytes, timeout)])


def uploaded_file(form: FormData, *fields: str) -> UploadFile:
    """The recording in `form`, from one of `fields` (default: `file`) or from a part without a
    name. Other files are ignored if they are empty.

    Raises InvalidRequest or InvalidAudio if there is no recording, if it is in another field, if
    there are several, or if it is text.
    """
    names = fields or ("file",)
    files = [pair for pair in form.multi_items() if isinstance(pair[1], UploadFile)]
    full = [(name, file) for name, file in files if isinstance(file, UploadFile) and file.size]
    if len(full) > 1:
        raise InvalidRequest(
            f"Too many files: found one in each of {_named(name for name, _ in full)}; "
            f"expected one, in the field {names[0]}.",
            param=names[0],
        )
    if not full and any(name in (*names, "") for name, _ in files):
        raise InvalidAudio("The file is empty (0 bytes).", code="audio_too_short")
    if not full:
        raise InvalidRequest(
            f"The field {names[0]} is missing; expected a recording. The form has "
            f"{_named(form) or 'no fields'}.",
            param=names[0],
            code="missing_file",
        )
    name, upload = full[0]
    if name not in (*names, ""):
        raise InvalidRequest(
            f"Found a file in the field {_named([name])}; expected the recording in the field "
            f"{names[0]}.",
            param=names[0],
            code="missing_file",
        )
    _check_bytes(upload, names[0])
    return upload


def text_field(form: FormData, field: str, most: int) -> str:
    """A text field of `form` without surrounding whitespace; empty if it is missing.

    Raises InvalidRequest for a file, or if it is not at most `most` printable characters.
    """
    value = form.get(field, "")
    if not isinstance(value, str):
        raise InvalidRequest(f"The field {field} is a file; expected text.", param=field)
    value = value.strip()
    if len(value) > most or not value.isprintable():
        raise InvalidRequest(
            f"Invalid value for {field}: expected at most {most} printable characters.",
            param=field,
        )
    return value


def _named(names: Iterable[str]) -> str:
    """At most ten distinct field names, for a message."""
    shown = [repr(name[:40]) for name in dict.fromkeys(names)]
    return ", ".join([*shown[:10], *(["…"] if len(shown) > 10 else [])])


def _check_bytes(upload: UploadFile, field: str) -> None:
    """Raises InvalidRequest if `upload` is a URL or other text instead of a recording. Text in a
    part that is not marked as a file was sent as a text field."""
    beginning = upload.file.read(_BEGINNING)
    upload.file.seek(0)
    is_field = upload.filename is None and _TEXT.fullmatch(beginning)
    hint = ""
    if _URL.match(beginning):
        found = "a URL, which is not fetched"
    elif _BASE64.fullmatch(beginning):
        found = "text, such as base64"
    elif is_field:
        found, hint = "text", f" With curl, use -F {field}=@recording.wav (with an @)."
    else:
        return
    raise InvalidRequest(
        f"The field {field} is {found}; expected the bytes of the recording.{hint}",
        param=field,
        code="missing_file" if is_field else "invalid_audio",
    )


async def _first_of_json(chunks: AsyncIterator[bytes], media_type: str) -> bytes:
    """The first bytes of a JSON body; raises UnsupportedMediaType for any other body."""
    if is_json_type(media_type):
        return b""
    first = await anext(chunks, b"") if media_type in _UNTYPED else b""
    if not looks_like_json(first):
        raise UnsupportedMediaType(
            "Expected a multipart/form-data body with the fields file and model, or "
            f"application/json with input_audio; got {media_type[:100] or 'no content type'}."
        )
    return first


async def _read_form(
    chunks: AsyncIterator[bytes], content_type: str, spool_dir: str | None
) -> FormData:
    reader = FormReader(content_type, partial(_new_spool, spool_dir))
    try:
        async for chunk in chunks:
            await reader.feed(chunk)
        return await reader.finish()
    except BaseException:
        reader.close()
        raise


async def _read_json(
    first: bytes, chunks: AsyncIterator[bytes], charset: str, spool_dir: str | None
) -> FormData:
    """The fields of a JSON body, with its `input_audio` as the file."""
    body = JsonBody(MAX_TEXT_BYTES, charset)
    upload = UploadFile(_new_spool(spool_dir), size=0, filename="input_audio")
    try:
        await upload.write(body.feed(first))
        async for chunk in chunks:
            await upload.write(body.feed(chunk))
        rest, fields = body.finish()
        await upload.write(rest)
        await upload.seek(0)
    except BaseException:
        upload.file.close()
        raise
    return FormData([*fields, ("file", upload)])


def _new_spool(spool_dir: str | None) -> BinaryIO:
    return cast(BinaryIO, SpooledTemporaryFile(max_size=IN_MEMORY_BYTES, dir=spool_dir))


async def _counted(request: Request, max_bytes: int, timeout: float) -> AsyncGenerator[bytes]:
    received = 0
    chunks = aiter(request.stream())
    while True:
        try:
            with anyio.fail_after(timeout):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise RequestTimeout(
                f"No data arrived for {timeout:g} seconds during the request."
            ) from None
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        yield chunk


def _too_large(max_bytes: int) -> UploadTooLarge:
    return UploadTooLarge(f"Maximum content size limit ({max_bytes} bytes) exceeded.", param="file")
