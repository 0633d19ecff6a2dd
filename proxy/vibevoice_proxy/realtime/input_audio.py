"""Decodes the audio of client events to samples at 24 kHz."""

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_proxy.realtime.client_events import InvalidEvent

MAX_BYTES = 15 * 1024 * 1024
"""Maximum audio in one event (openai, `InputAudioBufferAppendEvent`)."""
TELEPHONE_RATE = 8_000
BYTES_PER_SECOND = {
    "audio/pcm": 2 * SAMPLE_RATE,
    "audio/pcmu": TELEPHONE_RATE,
    "audio/pcma": TELEPHONE_RATE,
}
PART_SECONDS = 5
"""Maximum audio decoded at once. An event can contain half an hour of telephone audio, which takes
20 times the memory while it is resampled."""

Samples = NDArray[np.int16]


class InputAudio:
    """Decodes the audio of one session; its format may change between events."""

    def __init__(self) -> None:
        self._resampler: AudioResampler | None = None

    def decode(self, audio: str, media_type: str, event_id: str | None = None) -> Iterator[Samples]:
        """Return the samples of an event in parts of at most PART_SECONDS, shape (samples,). Checks
        the event immediately and raises InvalidEvent; decodes the parts as they are read."""

        def refuse(message: str) -> InvalidEvent:
            return InvalidEvent(message, param="audio", code="invalid_audio", event_id=event_id)

        if (size := _size(audio)) > MAX_BYTES:
            raise refuse(f"The event has {size} bytes of audio; expected at most {MAX_BYTES}.")
        try:
            data = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError):
            raise refuse("The audio is not valid base64.") from None
        if media_type == "audio/pcm" and len(data) % 2:
            raise refuse(
                f"The event has {len(data)} bytes of audio/pcm; expected whole samples of two "
                "bytes."
            )
        return self._parts(data, media_type)

    def _parts(self, data: bytes, media_type: str) -> Iterator[Samples]:
        size = PART_SECONDS * BYTES_PER_SECOND[media_type]
        for at in range(0, len(data), size):
            part = data[at : at + size]
            if media_type == "audio/pcm":
                yield np.frombuffer(part, "<i2").astype(np.int16, copy=False)
            else:
                yield self._resample(_TABLES[media_type][np.frombuffer(part, np.uint8)])

    def _resample(self, samples: Samples) -> Samples:
        if self._resampler is None:
            self._resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        frame = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = TELEPHONE_RATE
        parts = [out.to_ndarray()[0] for out in self._resampler.resample(frame)]
        return np.concatenate([*parts, np.zeros(0, np.int16)])


def duration(audio: str, media_type: str) -> float:
    """Seconds of audio in an event, computed from the length of its base64."""
    return _size(audio) / BYTES_PER_SECOND[media_type]


def _size(audio: str) -> int:
    """Number of bytes that `audio` decodes to if it is valid base64."""
    return len(audio) // 4 * 3 - audio[-2:].count("=")


def _mu_law(code: int) -> int:
    """μ-law decoding table: ITU-T G.711, table 2a, as 16-bit samples."""
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)
    return 0x84 - magnitude if code & 0x80 else magnitude - 0x84


def _a_law(code: int) -> int:
    """A-law decoding table: ITU-T G.711, table 1a, as 16-bit samples."""
    code ^= 0x55
    exponent = (code & 0x70) >> 4
    magnitude = ((code & 0x0F) << 4) + 8
    if exponent:
        magnitude = (magnitude + 0x100) << (exponent - 1)
    return magnitude if code & 0x80 else -magnitude


def _table(law: Callable[[int], int]) -> Samples:
    return np.array([law(code) for code in range(256)], np.int16)


_TABLES: Mapping[str, Samples] = {"audio/pcmu": _table(_mu_law), "audio/pcma": _table(_a_law)}
