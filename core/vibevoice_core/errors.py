"""Errors for audio that cannot be decoded. Their messages are written for clients."""


class DecodeError(ValueError):
    """The audio cannot be decoded within the limits."""

    code = "invalid_audio"


class AudioTooLong(DecodeError):
    """There is more audio than the caller accepts."""

    code = "audio_too_long"


class AudioTooComplex(DecodeError):
    """Decoding took longer than the caller accepts."""

    code = "audio_too_complex"


def undecodable() -> DecodeError:
    """The error for a file that no decoder can read."""
    return DecodeError(
        "The file could not be decoded as audio. Expected a recording in a common format, such as "
        "wav, mp3, m4a, mp4, webm, ogg, opus, aac or flac."
    )
