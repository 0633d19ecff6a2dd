"""Finds out from a file's own structure whether its end is missing.

Many containers begin a part with its size in bytes, and FLAC ends every frame with a checksum. A
file was cut off if such a part is incomplete. Declared audio lengths are ignored: tools that trim
or join files may leave them wrong.
"""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

FLAC = "flac"
MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
MATROSKA = "matroska,webm"

_MAX_CHUNKS = 100
_MAX_BOXES = 100_000
"""A fragmented MP4 has four boxes every two seconds: 57,600 in 8 hours, read in 0.1 s."""
_MAX_TAGS = 10
_MAX_ELEMENTS = 10
_MAX_FLAC_FRAME = 4 << 20
"""Bytes. A frame has at most 65,535 samples in 8 channels of 32 bits: 2 MiB."""

_LONG = 0xFFFF_FFFF
"""In RF64 and BW64, this means that the size is in the chunk `ds64`."""
_MAX_LONG = 2**48
"""Larger than any file: a 64-bit size above this means that the size is unknown."""
_STREAMED = 2_000_000_000
"""Programs that write to a pipe do not know the size. They write 0, 2 GB, 2 GiB, 4 GiB, or a little
less, such as 0x7F000000 (sox). Sizes from this one on are ignored."""

_AUDIO_BOXES = (b"moov", b"moof", b"mdat")
_SEGMENT = b"\x18\x53\x80\x67"

_XING = (b"Xing", b"Info")
_XING_OFFSETS = (36, 21, 13)
"""Bytes from the beginning of an MP3 frame to its Xing header: four for the frame's header, and the
side information of MPEG-1 stereo; MPEG-1 mono or MPEG-2 stereo; MPEG-2 mono."""
_HAS_FRAMES, _HAS_BYTES = 1, 2


@dataclass(frozen=True)
class Cut:
    """A file that was cut off."""

    missing: float = 0.0
    """Missing bytes per byte that is present; 0 if unknown."""
    is_fragmented: bool = False
    """The file has parts that declare only their own length: any number of them may be missing."""


_Part = tuple[int, int, bool]
"""A part of a file: where it begins and ends, in bytes, and `Cut.is_fragmented`."""


def find_cut(source: BinaryIO, demuxer: str, last_packet: bytes) -> Cut | None:
    """How `source` was cut off; None if it is complete or its structure cannot show it.

    Args:
        source: a seekable file.
        demuxer: FFmpeg's name of the container.
        last_packet: the last packet of the audio, if it is FLAC.
    """
    if demuxer == FLAC:
        return None if _is_whole_frame(last_packet) else Cut()
    if demuxer not in _PARTS:
        return None
    size = source.seek(0, io.SEEK_END)
    part = _PARTS[demuxer](source, size)
    if part is None:
        return None
    start, end, is_fragmented = part
    return Cut((end - size) / max(size - start, 1), is_fragmented) if end > size else None


def _read(source: BinaryIO, at: int, size: int) -> bytes:
    source.seek(at)
    return source.read(size)


def _chunk(source: BinaryIO, size: int) -> _Part | None:
    """The chunk that contains the samples of a WAV or AIFF file."""
    kind = _read(source, 0, 4)
    size_format, wanted = (">I", b"SSND") if kind == b"FORM" else ("<I", b"data")
    long_size = 0
    at = 12
    for _ in range(_MAX_CHUNKS):
        if at + 8 > size:
            return None
        header = _read(source, at, 24)
        name, (declared,) = header[:4], struct.unpack_from(size_format, header, 4)
        at += 8
        if name == b"ds64" and len(header) == 24:
            (long_size,) = struct.unpack_from("<Q", header, 16)
        if name == wanted:
            if declared == _LONG and 0 < long_size <= _MAX_LONG:
                return at, at + long_size, False
            return (at, at + declared, False) if declared < _STREAMED else None
        at += declared + declared % 2
    return None


def _box(source: BinaryIO, size: int) -> _Part | None:
    """An MP4 file, if a box that the audio needs is cut off; other boxes are ignored."""
    at, is_fragmented = 0, False
    for _ in range(_MAX_BOXES):
        if at + 8 > size:
            return None
        header = _read(source, at, 16)
        (length,), name = struct.unpack_from(">I", header), header[4:8]
        if length == 1 and len(header) == 16:
            (length,) = struct.unpack_from(">Q", header, 8)
        if length < 8:  # 0: the box extends to the end of the file
            return None
        is_fragmented = is_fragmented or name == b"moof"
        at += length
        if at > size:
            return (0, at, is_fragmented) if name in _AUDIO_BOXES else None
    return None


def _segment(source: BinaryIO, size: int) -> _Part | None:
    """The Segment of a Matroska file, which has everything but the EBML header (RFC 9559)."""
    at = 0
    for _ in range(_MAX_ELEMENTS):
        if at + 12 > size:
            return None
        header = _read(source, at, 12)
        name_size = 9 - header[0].bit_length()
        if name_size > 4:
            return None
        number_size = 9 - header[name_size].bit_length()
        number = header[name_size : name_size + number_size]
        unknown = (1 << 7 * number_size) - 1
        length = int.from_bytes(number) & unknown
        at += name_size + number_size
        if number_size > 8 or length == unknown:
            return None
        if header[:name_size] == _SEGMENT:
            return at, at + length, False
        at += length
    return None


def _xing(source: BinaryIO, size: int) -> _Part | None:
    """The frames of an MP3 file whose first frame is a Xing header, after any ID3 tags."""
    at = 0
    for _ in range(_MAX_TAGS):
        tag = _read(source, at, 10)
        if tag[:3] != b"ID3":
            break
        if len(tag) < 10 or any(byte & 0x80 for byte in tag[6:]):
            return None
        has_footer = tag[5] & 0x10
        at += 10 + sum(byte << 7 * place for place, byte in enumerate(reversed(tag[6:])))
        at += 10 if has_footer else 0
    frame = _read(source, at, max(_XING_OFFSETS) + 16)
    for offset in _XING_OFFSETS:
        if frame[offset : offset + 4] in _XING and len(frame) >= offset + 16:
            (flags,) = struct.unpack_from(">I", frame, offset + 4)
            number_at = offset + (12 if flags & _HAS_FRAMES else 8)
            (length,) = struct.unpack_from(">I", frame, number_at)
            return (at, at + length, False) if flags & _HAS_BYTES else None
    return None


def _is_whole_frame(packet: bytes) -> bool:
    """Whether a FLAC frame ends with its checksum (RFC 9639, section 9.3); any ID3v1 or APE tags
    after it are ignored."""
    if packet[-128:-125] == b"TAG":
        packet = packet[:-128]
    packet = packet.partition(b"APETAGEX")[0]
    return len(packet) > _MAX_FLAC_FRAME or _crc16(packet) == 0


def _crc16(data: bytes) -> int:
    """FLAC's CRC-16 of `data`: 0 if `data` ends with its own CRC."""
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ byte]
    return crc


def _crc16_of(byte: int) -> int:
    crc = byte << 8
    for _ in range(8):
        crc = crc << 1 ^ (0x18005 if crc & 0x8000 else 0)
    return crc


_CRC16 = tuple(_crc16_of(byte) for byte in range(256))
_PARTS: dict[str, Callable[[BinaryIO, int], _Part | None]] = {
    "wav": _chunk,
    "aiff": _chunk,
    MP4: _box,
    MATROSKA: _segment,
    "mp3": _xing,
}
