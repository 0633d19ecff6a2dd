"""Changes files as other programs do, without encoding them again."""

import io
import struct
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.stream import Disposition
from numpy.typing import NDArray


def copied(
    data: bytes,
    container: str,
    *,
    start: float = 0.0,
    end: float = float("inf"),
    subtitles: str = "",
    has_cover: bool = False,
    options: dict[str, str] | None = None,
    path: Path | None = None,
) -> bytes:
    """The packets of all tracks from `start` to `end` seconds, as `ffmpeg -c copy` writes them.
    `subtitles` (SRT) become one more track. `path`: a file for options that need one."""
    file: Path | io.BytesIO = io.BytesIO() if path is None else path
    with (
        av.open(io.BytesIO(data), "r") as source,
        av.open(file, "w", format=container, options=options or {}) as output,
    ):
        tracks = [output.add_stream_from_template(stream) for stream in source.streams]
        pictures: list[av.Packet] = []
        if has_cover:
            picture = output.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 320, 320, "yuvj420p"
            picture.disposition = Disposition.attached_pic
            noise = np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)
            pictures = [*picture.encode(av.VideoFrame.from_ndarray(noise)), *picture.encode(None)]
        if subtitles:
            with av.open(io.BytesIO(subtitles.encode()), "r", format="srt") as cues:
                text = output.add_stream_from_template(cues.streams[0])
                for packet in cues.demux():
                    if packet.size:
                        packet.stream = text
                        pictures.append(packet)
        for packet in source.demux():
            if packet.pts is None or not start <= float(packet.pts * packet.time_base) < end:
                continue
            packet.stream = tracks[packet.stream.index]
            output.mux(packet)
            while pictures:
                output.mux(pictures.pop(0))
    return path.read_bytes() if path else file.getvalue()  # type: ignore[union-attr]


def tracks(recordings: list[NDArray[np.int16]]) -> bytes:
    """A Matroska file with a track for each of `recordings`, mono samples at 24 kHz."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        streams = [
            cast(AudioStream, output.add_stream("pcm_s16le", rate=24_000, layout="mono"))
            for _ in recordings
        ]
        packets: list[av.Packet] = []
        for stream, samples in zip(streams, recordings, strict=True):
            for at in range(0, len(samples), 2400):
                part = samples[None, at : at + 2400]
                frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
                frame.sample_rate, frame.pts = 24_000, at
                packets += stream.encode(frame)
        for packet in sorted(packets, key=lambda packet: packet.pts or 0):
            output.mux(packet)
    return file.getvalue()


def with_edits(data: bytes, edits: list[tuple[int, int]]) -> bytes:
    """An MP4 file with one track and its index at the end, with another edit list.

    `edits`: the length of each edit in ms, and its start in samples, or -1 for an empty edit.
    """
    at = data.rindex(b"elst")
    (old,) = struct.unpack_from(">I", data, at - 4)
    entries = b"".join(struct.pack(">IiI", length, start, 0x10000) for length, start in edits)
    elst = struct.pack(">II", 0, len(edits)) + entries
    changed = bytearray(data[: at + 4] + elst + data[at - 4 + old :])
    for name in (b"moov", b"trak", b"edts", b"elst"):
        place = data.rindex(name) - 4
        (size,) = struct.unpack_from(">I", data, place)
        struct.pack_into(">I", changed, place, size + len(elst) + 8 - old)
    return bytes(changed)


def id3(body: bytes, *, has_footer: bool = False) -> bytes:
    """An ID3v2.4 tag; sizes have 7 bits per byte."""
    size = bytes(len(body) >> shift & 0x7F for shift in (21, 14, 7, 0))
    header = b"\x04\x00" + (b"\x10" if has_footer else b"\x00") + size
    return b"ID3" + header + body + (b"3DI" + header if has_footer else b"")


def ape() -> bytes:
    """An APE tag, version 2, with a title."""
    item = struct.pack("<II", 5, 0) + b"Title\x00hello"
    numbers = struct.pack("<III", 2000, len(item) + 32, 1)
    return b"".join(
        (
            *(b"APETAGEX", numbers, struct.pack("<I", 0xA000_0000), bytes(8)),
            item,
            *(b"APETAGEX", numbers, struct.pack("<I", 0x8000_0000), bytes(8)),
        )
    )


ID3V1 = b"TAG" + bytes(125)
