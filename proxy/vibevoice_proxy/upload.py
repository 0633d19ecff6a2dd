"""A form with one recording, multipart or JSON, received within bounds."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast

import anyio
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from vibevoice_proxy.errors import (
    InvalidAudio,
    InvalidRequest,
    RequestTimeout,
    UnsupportedMediaType,
    UploadTooLarge,
    storage_errors,
)
from vibevoice_proxy.json_body import JsonBody

MAX_FIELDS = 1000
MAX_TEXT_BYTES = 12 * 1024 * 1024
"""All text fields together. They are kept in memory; four speaker references of 10 s fit."""

IN_MEMORY_BYTES = 2 * 1024 * 1024
"""An upload up to this size, such as half a minute of WAV, needs no file."""


@asynccontextmanager
async def receive_form(
    request: Request, max_bytes: int, *, timeout: float, spool_dir: str | None
) -> AsyncIterator[FormData]:
    """The form of `request`, its file in an unnamed temporary file in `spool_dir` (None: the
    system's) that is gone at the end. `timeout`: seconds that the client may pause on the way.

    Raises UploadTooLarge as soon as the body is known to exceed `max_bytes`, before reading it
    where the client announces its length; UnsupportedMediaType and InvalidRequest for what is no
    such form; RequestTimeout when the client stops sending; StorageFull when the temporary file
    cannot be written.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ("multipart/form-data", "application/json"):
        raise UnsupportedMediaType(
            "Expected a multipart/form-data body with the fields file and model, or "
            f"application/json with input_audio, got {media_type or 'no content type'}."
        )
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    chunks = _counted(request, max_bytes, timeout)
    try:
        with storage_errors():
            if media_type == "application/json":
                form = await _parse_json(chunks, spool_dir)
            else:
                form = await _FormParser(
                    spool_dir,
                    request.headers,
                    chunks,
                    max_files=1,
                    max_fields=MAX_FIELDS,
                    max_part_size=MAX_TEXT_BYTES,
                ).parse()
    except MultiPartException as error:
        raise InvalidRequest(
            f"The multipart body could not be read: {error.message}", code="invalid_multipart"
        ) from error
    try:
        yield form
    finally:
        # Closed here and not in a thread, as form.close() does: this must also work when cancelled.
        for _, value in form.multi_items():
            if isinstance(value, UploadFile):
                value.file.close()


async def receive_body(request: Request, max_bytes: int, *, timeout: float) -> bytes:
    """The whole body of `request`; raises UploadTooLarge and RequestTimeout as `receive_form`."""
    return b"".join([chunk async for chunk in _counted(request, max_bytes, timeout)])


def uploaded_file(form: FormData, *fields: str) -> UploadFile:
    """The recording in `form`, in the first of `fields` that is there; `file` unless told.

    Raises InvalidRequest or InvalidAudio when there is none.
    """
    names = fields or ("file",)
    field = next((name for name in names if name in form), names[0])
    upload = form.get(field)
    if upload is None:
        raise InvalidRequest(f"The field {field} is missing.", param=field, code="missing_file")
    if isinstance(upload, str):
        raise InvalidRequest(
            f"The field {field} is text; expected a file part, that is one with a filename.",
            param=field,
        )
    if not upload.size:
        raise InvalidAudio("The file is empty (0 bytes).", code="audio_too_short")
    return upload


async def _parse_json(chunks: AsyncIterator[bytes], spool_dir: str | None) -> FormData:
    """The fields of a JSON body, and its `input_audio` as the file."""
    body = JsonBody(MAX_TEXT_BYTES)
    spool = _new_spool(spool_dir)
    upload = UploadFile(cast(BinaryIO, spool), size=0, filename="input_audio")
    try:
        async for chunk in chunks:
            await upload.write(body.feed(chunk))
        rest, fields = body.finish()
        await upload.write(rest)
        await upload.seek(0)
    except BaseException:
        spool.close()
        raise
    return FormData([*fields, ("file", upload)])


class _FormParser(MultiPartParser):
    """Bounds the text fields together, which the parser keeps in memory, insists on the end, and
    keeps the file in a folder of our choice."""

    def __init__(self, spool_dir: str | None, *args: Any, **limits: Any) -> None:
        super().__init__(*args, **limits)
        self._spool_dir = spool_dir
        self._text_bytes = 0
        self._ended = False

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if (upload := self._current_part.file) is not None:
            upload.file.close()
            spool = _new_spool(self._spool_dir)
            upload.file = cast(BinaryIO, spool)
            self._files_to_close_on_error[-1] = spool

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        super().on_part_data(data, start, end)
        if self._current_part.file is None:
            self._text_bytes += end - start
            if self._text_bytes > MAX_TEXT_BYTES:
                raise MultiPartException(f"The text fields exceed {MAX_TEXT_BYTES} bytes together.")

    def on_end(self) -> None:
        self._ended = True

    async def parse(self) -> FormData:
        try:
            form = await super().parse()
            if not self._ended:
                raise MultiPartException("It ends before its final boundary.")
        except BaseException:
            for file in self._files_to_close_on_error:
                file.close()
            raise
        return form


def _new_spool(spool_dir: str | None) -> SpooledTemporaryFile[bytes]:
    return SpooledTemporaryFile(max_size=IN_MEMORY_BYTES, dir=spool_dir)


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
                f"Nothing came for {timeout:g} seconds in the middle of the request."
            ) from None
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        yield chunk


def _too_large(max_bytes: int) -> UploadTooLarge:
    return UploadTooLarge(f"Maximum content size limit ({max_bytes} bytes) exceeded.", param="file")
