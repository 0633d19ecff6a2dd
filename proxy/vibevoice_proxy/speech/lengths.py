"""Headers of WAV and FLAC that tell how long the audio is, where that is known in time.

A header leaves before the last sample is made, so a stream cannot tell its length, and some readers
(libsndfile's for FLAC) then fail. So the first bytes wait for a moment: when the whole answer is
there by then, its header tells the length; otherwise it says unknown, as OpenAI's do.
"""

import struct
from collections.abc import Callable
from time import monotonic

HOLD_SECONDS = {"wav": 0.25, "flac": 5.0}
"""How long an answer is held back. WAV is played as it comes; FLAC is kept as a file."""
MAX_HELD_BYTES = 16 * 1024 * 1024
_FLAC_TOTAL = slice(18, 26)
"""Rate, channels, bits and, in the lower 36 bits, samples (RFC 9639, section 8.2), behind the magic
number and the header of the first block."""
_WAV_HEADER = 44
"""Bytes."""


class Held:
    """Holds back the encoded bytes of one answer in `response_format`."""

    def __init__(self, response_format: str, clock: Callable[[], float] = monotonic) -> None:
        self._format = response_format
        self._clock = clock
        self._held: bytearray | None = bytearray() if response_format in HOLD_SECONDS else None
        self._until = clock() + HOLD_SECONDS.get(response_format, 0.0)

    def feed(self, data: bytes) -> bytes:
        """The bytes that may leave now that `data` is there."""
        if self._held is None:
            return data
        self._held += data
        if len(self._held) <= MAX_HELD_BYTES and self._clock() < self._until:
            return b""
        released, self._held = bytes(self._held), None
        return released

    def finish(self, data: bytes, samples: int) -> bytes:
        """The last bytes, `data` at their end, of an answer of so many samples."""
        if self._held is None:
            return data
        whole = self._held + data
        if self._format == "wav":
            size = len(whole) - _WAV_HEADER
            whole[4:8] = struct.pack("<I", size + _WAV_HEADER - 8)
            whole[40:44] = struct.pack("<I", size)
        else:
            described = int.from_bytes(whole[_FLAC_TOTAL]) >> 36 << 36
            whole[_FLAC_TOTAL] = (described | samples).to_bytes(8)
        return bytes(whole)
