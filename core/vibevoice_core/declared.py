"""Finds out whether a file was cut off: whether its header declares more than it contains.

Only headers that give the exact length count, not estimates from the bit rate. Ogg, AAC, and
MPEG-TS have none, so a file that was cut off cannot be told from a complete one.
"""

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO, cast

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from vibevoice_core.containers import open_container
from vibevoice_core.errors import DecodeError

TOLERANCE = 0.5
"""Seconds by which a complete file may be shorter than its header says. Encoders' delays and
padding, and rounded times, are less than 0.3 s: 5 frames of MP3 at 8 kHz take 0.36 s."""

_CHUNKED = {
    b"RIFF": ("<I", b"data"),
    b"RF64": ("<I", b"data"),
    b"BW64": ("<I", b"data"),
    b"FORM": (">I", b"SSND"),
}
"""WAV and AIFF: the format of sizes, and the chunk with the samples."""
_MAX_CHUNKS = 100
_LONG = 0xFFFF_FFFF
"""In RF64 and BW64: the size is in the chunk `ds64`."""
_MAX_LONG = 2**48
"""Larger than any file: a long size above it stands for an unknown one."""
_STREAMED = (range(1), range(0x7F00_0000, 0x8000_0001), range(0xFFFF_0000, 0x1_0000_0000))
"""Sizes written by programs that do not know the length because they write to a pipe: 0, 2 GiB, 4
GiB, or a little less. For instance, sox writes 0x7F000000 in AIFF and 0x7FFFF000 in WAV."""

_WHOLE_FILE = ("flac", "matroska,webm", "au", "tta", "wv")
"""Demuxers that read the exact length of the file from its header."""
_EACH_TRACK = "mov,mp4,m4a,3gp,3g2,mj2"
"""A demuxer that reads the exact length of each track."""

_XING = (b"Xing", b"Info")
_XING_OFFSETS = (36, 21, 13)
"""Bytes from the beginning of an MP3 frame to its Xing header: four for the frame's header, and the
side information of MPEG-1 stereo; MPEG-1 mono or MPEG-2 stereo; MPEG-2 mono."""
_HAS_FRAMES = 1


@dataclass
class Reached:
    """How far a file has been read."""

    decoded: float = 0.0
    """Seconds of decoded audio."""
    track: float = 0.0
    """The container's time at which the audio track's last frame ends, in seconds."""
    others: float = 0.0
    """The same for the last packet of the other tracks."""

    def track_to(self, frame: AudioFrame) -> None:
        """Count a frame of the audio track."""
        if frame.time is not None:
            self.track = max(self.track, frame.time + frame.samples / frame.sample_rate)

    def other_to(self, packet: av.Packet) -> None:
        """Count a packet of another track."""
        if packet.pts is not None:
            end = (packet.pts + (packet.duration or 0)) * packet.time_base
            self.others = max(self.others, float(end))


def lost_seconds(
    source: BinaryIO, container: InputContainer, stream: AudioStream, reached: Reached
) -> float:
    """Seconds that are lost at the end of `stream`, which has been read to its end; 0 if the file
    is complete or does not declare its length. `source` is the file of `container`."""
    name = container.format.name
    lost = _lost_of_chunk(source, reached.decoded)
    if lost is None and name == "mp3":
        frames = _xing_frames(source)
        lost = frames and frames * _frame_seconds(stream) - reached.decoded
    elif lost is None and name == _EACH_TRACK:
        end = _declared_end(source, stream.index)
        lost = end and end - max(reached.track, reached.decoded)
    elif lost is None and name in _WHOLE_FILE:
        end = _declared_end(source, None)
        lost = end and end - max(reached.track, reached.decoded, reached.others)
    return lost if lost and lost > TOLERANCE else 0.0


def _lost_of_chunk(source: BinaryIO, decoded: float) -> float | None:
    """What is lost of a WAV or AIFF file with `decoded` seconds; None if it is another file, or its
    length is unknown."""
    size = source.seek(0, io.SEEK_END)
    source.seek(0)
    kind = source.read(12)[:4]
    if kind not in _CHUNKED:
        return None
    size_format, wanted = _CHUNKED[kind]
    long_size = 0
    at = 12
    for _ in range(_MAX_CHUNKS):
        source.seek(at)
        header = source.read(24)
        if len(header) < 8:
            return None
        name, (declared,) = header[:4], struct.unpack_from(size_format, header, 4)
        at += 8
        if name == b"ds64" and len(header) == 24:
            (long_size,) = struct.unpack_from("<Q", header, 16)
        if name == wanted:
            present = size - at
            if declared == _LONG and 0 < long_size <= _MAX_LONG:
                declared = long_size
            elif any(declared in sizes for sizes in _STREAMED):
                return None
            return decoded * (declared / present - 1) if present > 0 else None
        at += declared + declared % 2
    return None


def _xing_frames(source: BinaryIO) -> int | None:
    """The number of frames in an MP3 file's Xing header, after any ID3 tags; None without one."""
    at = 0
    source.seek(at)
    while len(tag := source.read(10)) == 10 and tag[:3] == b"ID3":
        at += 10 + sum(byte << 7 * place for place, byte in enumerate(reversed(tag[6:])))
        source.seek(at)
    source.seek(at)
    frame = source.read(max(_XING_OFFSETS) + 12)
    for offset in _XING_OFFSETS:
        if frame[offset : offset + 4] in _XING and len(frame) >= offset + 12:
            flags, frames = struct.unpack_from(">II", frame, offset + 4)
            return frames if flags & _HAS_FRAMES else None
    return None


def _frame_seconds(stream: AudioStream) -> float:
    """Length of an MP3 frame: MPEG-1, with rates from 32 kHz, has 1152 samples, MPEG-2 has 576."""
    return (1152 if stream.rate >= 32_000 else 576) / stream.rate


def _declared_end(source: BinaryIO, index: int | None) -> float | None:
    """The time in seconds at which the track number `index`, or else the file, ends according to
    its header."""
    try:
        # FFmpeg estimates a length from the bit rate only if it knows the size.
        with open_container(cast(BinaryIO, _Unsized(source))) as container:
            if index is None:
                return container.duration and container.duration / av.time_base
            stream = container.streams[index]
            if stream.duration is None or stream.time_base is None:
                return None
            return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    except (DecodeError, IndexError):
        return None


class _Unsized:
    """A file whose size is unknown."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self.tell = file.tell
        self._seek = file.seek

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return -1 if whence == io.SEEK_END else self._seek(offset, whence)
