"""The audio of clients → samples at 24 kHz."""

import base64
import binascii
from collections.abc import Callable, Mapping

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_proxy.realtime.client_events import InvalidEvent

MAX_BYTES = 15 * 1024 * 1024
"""Of audio in one event (openai, `InputAudioBufferAppendEvent`)."""
TELEPHONE_RATE = 8_000

Samples = NDArray[np.int16]


class InputAudio:
    """Decodes the audio of one session, whose format may change on the way."""

    def __init__(self) -> None:
        self._resampler: AudioResampler | None = None

    def decode(self, audio: str, media_type: str, event_id: str | None = None) -> Samples:
        """The samples of an event, shape (samples,). Raises InvalidEvent."""

        def refuse(message: str) -> InvalidEvent:
            return InvalidEvent(message, param="audio", code="invalid_audio", event_id=event_id)

        try:
            data = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError):
            raise refuse("The audio is not valid base64.") from None
        if len(data) > MAX_BYTES:
            raise refuse(f"The event has {len(data)} bytes of audio; expected at most {MAX_BYTES}.")
        if media_type == "audio/pcm":
            if len(data) % 2:
                raise refuse(
                    f"The event has {len(data)} bytes of audio/pcm; expected whole samples of two "
                    "bytes."
                )
            return np.frombuffer(data, "<i2").astype(np.int16, copy=False)
        return self._resample(_TABLES[media_type][np.frombuffer(data, np.uint8)])

    def _resample(self, samples: Samples) -> Samples:
        if self._resampler is None:
            self._resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        if not len(samples):
            return samples
        frame = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = TELEPHONE_RATE
        parts = [out.to_ndarray()[0] for out in self._resampler.resample(frame)]
        return np.concatenate([*parts, np.zeros(0, np.int16)])


def _mu_law(code: int) -> int:
    """ITU-T G.711, table 2a, in 16 bits."""
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)
    return 0x84 - magnitude if code & 0x80 else magnitude - 0x84


def _a_law(code: int) -> int:
    """ITU-T G.711, table 1a, in 16 bits."""
    code ^= 0x55
    exponent = (code & 0x70) >> 4
    magnitude = ((code & 0x0F) << 4) + 8
    if exponent:
        magnitude = (magnitude + 0x100) << (exponent - 1)
    return magnitude if code & 0x80 else -magnitude


def _table(law: Callable[[int], int]) -> Samples:
    return np.array([law(code) for code in range(256)], np.int16)


_TABLES: Mapping[str, Samples] = {"audio/pcmu": _table(_mu_law), "audio/pcma": _table(_a_law)}
