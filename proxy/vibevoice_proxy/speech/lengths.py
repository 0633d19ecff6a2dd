"""Writes the audio length into WAV and FLAC headers if it is known in time.

A stream sends its header before the last sample is generated, so the header cannot contain the
length, and some readers (libsndfile for FLAC) then fail. So the first bytes are held back briefly:
if the response completes in that time, its header contains the length; otherwise the length is
marked as unknown, as in OpenAI's responses.
"""

import struct
from collections.abc import Callable
from time import monotonic

HOLD_SECONDS = {"wav": 0.25, "flac": 5.0}
"""How long a response is held back. WAV is usually played while streaming; FLAC is usually saved
as a file."""
MAX_HELD_BYTES = 16 * 1024 * 1024
_FLAC_TOTAL = slice(18, 26)
"""Rate, channels, bits and, in the lower 36 bits, the number of samples (RFC 9639, section 8.2);
after the magic number and the header of the first block."""
_WAV_HEADER = 44
"""Size in bytes."""


class Held:
    """Holds back the encoded bytes of one response in `response_format`."""

    def __init__(self, response_format: str, clock: Callable[[], float] = monotonic) -> None:
        self._format = response_format
        self._clock = clock
        self._held: bytearray | None = bytearray() if response_format in HOLD_SECONDS else None
        self._until = clock() + HOLD_SECONDS.get(response_format, 0.0)

    def feed(self, data: bytes) -> bytes:
        """Add `data` and return the bytes that can be sent."""
        if self._held is None:
            return data
        self._held += data
        if len(self._held) <= MAX_HELD_BYTES and self._clock() < self._until:
            return b""
        released, self._held = bytes(self._held), None
        return released

    def finish(self, data: bytes, samples: int) -> bytes:
        """Add the last `data` and return all remaining bytes; `samples`: length of the response."""
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
