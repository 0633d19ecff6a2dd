"""Converts errors of the speech models to errors of the proxy."""

from collections.abc import Iterator
from contextlib import contextmanager

from vibevoice_proxy.errors import (
    InvalidRequest,
    TooManyRequests,
    UpstreamError,
    UpstreamUnavailable,
)
from vibevoice_tts import (
    CannotClone,
    SpeechError,
    SpeechQueueFull,
    SpeechRejected,
    UnknownVoice,
    WorkerUnavailable,
)


@contextmanager
def speech_errors() -> Iterator[None]:
    """Convert a SpeechError in the block to a ProxyError."""
    try:
        yield
    except UnknownVoice as error:
        raise InvalidRequest(str(error), param="voice") from error
    except CannotClone as error:
        raise InvalidRequest(str(error), param="model") from error
    except SpeechRejected as error:
        raise InvalidRequest(str(error), param="input") from error
    except SpeechQueueFull as error:
        raise TooManyRequests from error
    except WorkerUnavailable as error:
        raise UpstreamUnavailable(str(error), code="speech_unavailable") from error
    except SpeechError as error:
        raise UpstreamError(str(error), code="speech_failed") from error
