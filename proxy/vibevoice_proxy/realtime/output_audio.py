"""Encodes speech as the audio of events."""

import base64
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.codec import CodecContext

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_proxy.realtime.input_audio import TELEPHONE_RATE

_CODECS = {"audio/pcmu": "pcm_mulaw", "audio/pcma": "pcm_alaw"}


class OutputAudio:
    """Encodes the speech of one response."""

    def __init__(self, media_type: str) -> None:
        """`media_type`: `audio/pcm`, `audio/pcmu` or `audio/pcma`."""
        self.seconds = 0.0
        """Seconds encoded so far."""
        self._encoder: Any = None
        if media_type in _CODECS:
            self._resampler = AudioResampler(format="s16", layout="mono", rate=TELEPHONE_RATE)
            self._encoder = CodecContext.create(_CODECS[media_type], "w")
            self._encoder.sample_rate = TELEPHONE_RATE
            self._encoder.layout, self._encoder.format = "mono", "s16"

    def encode(self, pcm: bytes) -> str:
        """Base64 of `pcm` (16-bit little-endian samples, mono, 24 kHz); may be empty while the
        resampler buffers samples."""
        self.seconds += len(pcm) / 2 / SAMPLE_RATE
        return base64.b64encode(self._encoded(pcm) if self._encoder else pcm).decode()

    def _encoded(self, pcm: bytes) -> bytes:
        frame = AudioFrame.from_ndarray(np.frombuffer(pcm, "<i2")[None], "s16", "mono")
        frame.sample_rate = SAMPLE_RATE
        packets = [
            bytes(packet)
            for part in self._resampler.resample(frame)
            for packet in self._encoder.encode(part)
        ]
        return b"".join(packets)
