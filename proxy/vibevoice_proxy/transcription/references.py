"""Checks the names and references of known speakers, and finds the voice in a reference."""

import base64
import io
import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vibevoice_core.errors import AudioTooLong
from vibevoice_core.speakers import UNKNOWN
from vibevoice_core.worker_process import WorkerLost
from vibevoice_light import SAMPLE_RATE as LIGHT_RATE
from vibevoice_light import LightFailed, LightPool, Window
from vibevoice_proxy.decoder import AudioDecoder
from vibevoice_proxy.errors import (
    InvalidAudio,
    InvalidRequest,
    UpstreamError,
    UpstreamUnavailable,
)
from vibevoice_proxy.transcription.section_audio import Downsampler, Samples
from vibevoice_proxy.transcription.voices import MAX_PIECE_SECONDS, Voice, voices_of

NAMES = "known_speaker_names"
REFERENCES = "known_speaker_references"
MAX_NAME = 100
"""Characters."""
MIN_SECONDS, MAX_SECONDS = 2.0, 10.0
"""Length of a reference in seconds, as in OpenAI's API (openai 3.52, TranscriptionCreateParams)."""
TOLERANCE = 0.25
"""Tolerance in seconds for references that are too short or too long: MP3 and AAC change the
length."""
MIN_SPEECH = 1.5
"""Minimum seconds of speech in a reference, without pauses."""
SECOND_VOICE = 1.5
"""A reference with this many seconds of other voices has more than one speaker."""

_DATA_URL = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),", re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def check_names(names: Sequence[str], field: str = NAMES) -> list[str]:
    """`names` without surrounding whitespace. Raises InvalidRequest for `field` if one of them is
    empty, repeated, too long, not printable, or reserved."""
    cleaned = [name.strip() for name in names]
    seen: set[str] = set()
    for number, name in enumerate(cleaned, 1):
        place = f"name {number} of {field}" if len(cleaned) > 1 else field
        if not name:
            raise InvalidRequest(
                f"The {place} is empty; expected the name of a speaker.", param=field
            )
        if len(name) > MAX_NAME or not name.isprintable():
            raise InvalidRequest(
                f"Invalid value for {place}: expected at most {MAX_NAME} printable characters.",
                param=field,
            )
        if name.casefold() == UNKNOWN:
            raise InvalidRequest(
                f"Invalid value for {place}: {UNKNOWN!r} is the label of unknown speakers.",
                param=field,
            )
        if name.casefold() in seen:
            raise InvalidRequest(
                f"The {place} is a duplicate; expected a different name for each speaker.",
                param=field,
            )
        seen.add(name.casefold())
    return cleaned


def check_count(names: Sequence[str], references: Sequence[str], most: int) -> None:
    """Raises InvalidRequest unless there are as many references as names, at most `most`."""
    for field, values in ((NAMES, names), (REFERENCES, references)):
        if len(values) > most:
            raise InvalidRequest(
                f"{field} has {len(values)} values; expected at most {most}.", param=field
            )
    if len(names) != len(references):
        raise InvalidRequest(
            f"There are {len(names)} {NAMES} and {len(references)} {REFERENCES}; expected one "
            "reference for each name, in the same order.",
            param=REFERENCES if names else NAMES,
        )


def read_data_url(text: str, place: str) -> bytes:
    """The bytes of a data URL. Raises InvalidRequest with `place` in the message."""

    def invalid(reason: str) -> InvalidRequest:
        return InvalidRequest(
            f"The {place} {reason}; expected a data URL such as data:audio/wav;base64,UklGR….",
            param=REFERENCES,
        )

    if not text.strip():
        raise invalid("is empty")
    if _URL.match(text.strip()):
        raise invalid("is a URL, and URLs are not fetched")
    match = _DATA_URL.match(text.strip())
    if not match:
        raise invalid("is not a data URL")
    if ";base64" not in match[2].lower():
        raise invalid("is a data URL that is not base64")
    digits = "".join(text.strip()[match.end() :].split())
    try:
        data = base64.b64decode(digits, validate=True)
    except ValueError as error:
        raise invalid("is not valid base64") from error
    if not data:
        raise invalid("is empty")
    return data


class VoiceReader:
    """Finds the voice in a short recording of one person."""

    def __init__(self, decoder: AudioDecoder, pool: LightPool) -> None:
        self._decoder = decoder
        self._pool = pool

    async def read(
        self, data: bytes, place: str, field: str, *, most: float = MAX_SECONDS
    ) -> Voice:
        """The voice in a recording of MIN_SECONDS to `most` seconds.

        Raises InvalidAudio for `field`, with `place` in the message, if the recording cannot be
        decoded or does not contain the speech of exactly one person; UpstreamUnavailable if voices
        cannot be compared now.
        """

        def consume(blocks: Iterator[NDArray[np.int16]]) -> Samples:
            try:
                return _downsampled(blocks)
            except AudioTooLong as error:
                raise InvalidAudio(
                    f"The {place} is longer than {most:g} seconds; expected {MIN_SECONDS:g} to "
                    f"{most:g}.",
                    code=error.code,
                ) from error

        try:
            samples, _ = await self._decoder.run(io.BytesIO(data), most + TOLERANCE, consume)
            return self._check(samples, await self._embed(samples), place, most)
        except InvalidAudio as error:
            message = str(error)
            if message.startswith("The file "):  # the decoder's name for an upload
                message = f"The {place} {message.removeprefix('The file ')}"
            wrong = InvalidAudio(message, code=error.code)
            wrong.param = field
            raise wrong from error

    def _check(self, samples: Samples, windows: Sequence[Window], place: str, most: float) -> Voice:
        seconds = len(samples) / LIGHT_RATE
        if seconds < MIN_SECONDS - TOLERANCE:
            raise InvalidAudio(
                f"The {place} is {seconds:.2f} seconds long; expected {MIN_SECONDS:g} to {most:g}.",
                code="audio_too_short",
            )
        voices = voices_of(windows)
        if not voices or voices[0].seconds < MIN_SPEECH:
            heard = voices[0].seconds if voices else 0.0
            raise InvalidAudio(
                f"The {place} contains {heard:.1f} seconds of clear speech; expected at least "
                f"{MIN_SPEECH:g}.",
                code="no_speech",
            )
        if sum(voice.seconds for voice in voices[1:]) >= SECOND_VOICE:
            raise InvalidAudio(
                f"The {place} contains more than one voice; expected one person.",
                code="several_voices",
            )
        return voices[0]

    async def _embed(self, samples: Samples) -> list[Window]:
        size = round(MAX_PIECE_SECONDS * LIGHT_RATE)
        windows: list[Window] = []
        try:
            for at in range(0, len(samples), size):
                start = at / LIGHT_RATE
                windows += [
                    Window(start + one.start, start + one.end, one.vector)
                    for one in await self._pool.embed(samples[at : at + size])
                ]
        except WorkerLost as error:
            raise UpstreamUnavailable("Voices cannot be compared now. Try again soon.") from error
        except LightFailed as error:
            raise UpstreamError(str(error)) from error
        return windows


def _downsampled(blocks: Iterator[NDArray[np.int16]]) -> Samples:
    downsampler = Downsampler()
    parts = [
        downsampler.feed(block.astype(np.float32) / np.float32(32768))
        for block in blocks
        if len(block)
    ]
    rest = downsampler.feed(np.zeros(0, np.float32)) if parts else np.zeros(0, np.float32)
    return np.concatenate([*parts, rest])
