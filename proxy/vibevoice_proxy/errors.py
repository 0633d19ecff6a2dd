"""The proxy's errors, with their HTTP statuses and OpenAI error bodies.

ProxyError
├── InvalidRequest              400  the request is invalid or unsupported
│   ├── InvalidAudio            400  the recording cannot be decoded or transcribed
│   ├── ModelNotFound           404
│   ├── VoiceNotFound           404
│   ├── SpeakerNotFound         404
│   ├── Forbidden               403  the operator has not enabled it
│   ├── UploadTooLarge          413
│   └── UnsupportedMediaType    415
├── RequestTimeout              408  the client stopped in the middle of its upload
├── TooManyRequests             429  all slots are in use and the queue is full
├── StorageError                503  the recording cannot be stored at the moment
│   └── StorageFull             503  there is no storage space left
└── UpstreamError               502  the engine failed or sent an invalid response
    ├── UpstreamUnavailable     503  the engine cannot be reached or is still loading
    └── UpstreamTimeout         504  the engine took too long; a retry would not help
"""

import errno
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
"""LiteLLM honors `Retry-After` from 1 to 60 s; the openai client does so up to 120 s."""


class ProxyError(Exception):
    """An error that is safe to show to clients; `str(error)` is the message sent."""

    status = 500
    type = "server_error"
    default_code: str | None = None
    headers: Mapping[str, str] = {}

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code or self.default_code


class InvalidRequest(ProxyError):
    """The request is invalid; retrying it gives the same error."""

    status = 400
    type = "invalid_request_error"
    default_code = "invalid_value"


class InvalidAudio(InvalidRequest):
    """The uploaded recording cannot be transcribed."""

    default_code = "invalid_audio"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message, param="file", code=code)


class ModelNotFound(InvalidRequest):
    """The model name is unknown."""

    status = 404
    default_code = "model_not_found"


class VoiceNotFound(InvalidRequest):
    """No stored voice has this id."""

    status = 404
    default_code = "voice_not_found"


class SpeakerNotFound(InvalidRequest):
    """No enrolled speaker has this id."""

    status = 404
    default_code = "speaker_not_found"


class Forbidden(InvalidRequest):
    """The requested feature is disabled."""

    status = 403
    default_code = "forbidden"


class UploadTooLarge(InvalidRequest):
    """The request body is larger than the limit."""

    status = 413
    default_code = "content_too_large"


class UnsupportedMediaType(InvalidRequest):
    """The request body is neither a form nor JSON."""

    status = 415
    default_code = "unsupported_media_type"


class TooManyRequests(ProxyError):
    """All slots are in use and the queue is full."""

    status = 429
    type = "rate_limit_error"
    default_code = "rate_limit_exceeded"
    headers = {"retry-after": str(RETRY_AFTER_SECONDS)}

    def __init__(self) -> None:
        super().__init__("The server is busy: too many requests at once. Try again soon.")


class RequestTimeout(ProxyError):
    """The client stopped sending before the request was complete."""

    status = 408
    type = "invalid_request_error"
    default_code = "request_timeout"
    headers = {"x-should-retry": "false", "connection": "close"}


class StorageError(ProxyError):
    """A file could not be created or written; the operator has to fix the folder."""

    status = 503
    default_code = "storage_unavailable"
    headers = {"retry-after": str(RETRY_AFTER_SECONDS)}

    def __init__(
        self, message: str = "The server cannot store the recording right now. Try again soon."
    ) -> None:
        super().__init__(message)


class StorageFull(StorageError):
    """There is no storage space left; a retry can help once other requests are done."""

    default_code = "storage_full"

    def __init__(self) -> None:
        super().__init__("The server has no space left for the recording. Try again soon.")


@contextmanager
def storage_errors() -> Iterator[None]:
    """Convert an OSError in the block to StorageError, or to StorageFull if no space is left. Use
    it only around file writes."""
    try:
        yield
    except OSError as error:
        logger.error("a recording cannot be stored: %s", error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFull from error
        raise StorageError from error


class UpstreamError(ProxyError):
    """The engine failed in a way that a retry would not fix."""

    status = 502
    default_code = "upstream_error"
    headers = {"x-should-retry": "false"}


class UpstreamUnavailable(UpstreamError):
    """The engine cannot accept the request now; a retry can help."""

    status = 503
    default_code = "upstream_unavailable"
    headers = {"retry-after": str(RETRY_AFTER_SECONDS)}


class UpstreamTimeout(UpstreamError):
    """The engine did not respond in time; a retry would only repeat the work."""

    status = 504
    default_code = "upstream_timeout"


def error_body(
    message: str, *, type: str, param: str | None = None, code: str | None = None
) -> dict[str, dict[str, str | None]]:
    """OpenAI's error body; all four keys are always present."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}
