"""A multipart form with one recording, received within bounds."""

import errno
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from vibevoice_proxy.errors import (
    InvalidAudio,
    InvalidRequest,
    StorageFull,
    UnsupportedMediaType,
    UploadTooLarge,
)

MAX_FIELDS = 1000
MAX_TEXT_BYTES = 12 * 1024 * 1024
"""All text fields together. They are kept in memory; four speaker references of 10 s fit."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@asynccontextmanager
async def receive_form(request: Request, max_bytes: int) -> AsyncIterator[FormData]:
    """The form of `request`, its file in an unnamed temporary file that is gone at the end.

    Raises UploadTooLarge as soon as the body is known to exceed `max_bytes`, before reading it
    where the client announces its length; UnsupportedMediaType and InvalidRequest for what is no
    multipart form; StorageFull when the temporary file cannot be written.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        raise UnsupportedMediaType(
            "Expected a multipart/form-data body with the fields file and model, got "
            f"{media_type or 'no content type'}."
        )
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    parser = _FormParser(
        request.headers,
        _counted(request, max_bytes),
        max_files=1,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_TEXT_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequest(
            f"The multipart body could not be read: {error.message}", code="invalid_multipart"
        ) from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageFull from error
        raise
    try:
        yield form
    finally:
        # Closed here and not in a thread, as form.close() does: this must also work when cancelled.
        for _, value in form.multi_items():
            if isinstance(value, UploadFile):
                value.file.close()


def uploaded_file(form: FormData) -> UploadFile:
    """The recording in `form`. Raises InvalidRequest or InvalidAudio when it is not there."""
    upload = form.get("file")
    if upload is None:
        raise InvalidRequest("The field file is missing.", param="file", code="missing_file")
    if isinstance(upload, str):
        raise InvalidRequest(
            "The field file is text; expected a file part, that is one with a filename.",
            param="file",
        )
    if not upload.size:
        raise InvalidAudio("The file is empty (0 bytes).", code="audio_too_short")
    return upload


class _FormParser(MultiPartParser):
    """Bounds the text fields together, which the parser keeps in memory, and insists on the end."""

    _text_bytes = 0
    _ended = False

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        super().on_part_data(data, start, end)
        if self._current_part.file is None:
            self._text_bytes += end - start
            if self._text_bytes > MAX_TEXT_BYTES:
                raise MultiPartException(f"The text fields exceed {MAX_TEXT_BYTES} bytes together.")

    def on_end(self) -> None:
        self._ended = True

    async def parse(self) -> FormData:
        form = await super().parse()
        if not self._ended:
            for file in self._files_to_close_on_error:
                file.close()
            raise MultiPartException("It ends before its final boundary.")
        return form


async def _counted(request: Request, max_bytes: int) -> AsyncGenerator[bytes]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        yield chunk


def _too_large(max_bytes: int) -> UploadTooLarge:
    return UploadTooLarge(f"Maximum content size limit ({max_bytes} bytes) exceeded.", param="file")
