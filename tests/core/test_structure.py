"""Complete files are not taken for files that were cut off, whatever their headers declare."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.core.test_declared import FRAGMENTED, SECONDS, SUBTITLES, lengths
from tests.core.test_timeline import moved, recording
from tests.support.containers import ID3V1, ape, copied, id3, tracks, with_edits
from tests.support.recordings import Pipe, encode_to, tone, wav

from vibevoice_core.structure import MP4, find_cut

TITLE = b"TIT2\x00\x00\x00\x05\x00\x00\x00abcd"
Make = Callable[[Path], bytes]


def written(
    container: str,
    codec: str,
    options: dict[str, str] | None = None,
    *,
    rate: int = 48_000,
    video: bool = False,
) -> Make:
    """A recording that was written to a file."""

    def make(path: Path) -> bytes:
        encode_to(path, container, codec, SECONDS, rate=rate, video=video, options=options)
        return path.read_bytes()

    return make


def piped(container: str, codec: str, options: dict[str, str] | None = None) -> Make:
    """A recording that was written to a pipe."""

    def make(_: Path) -> bytes:
        pipe = Pipe()
        encode_to(pipe, container, codec, SECONDS, options=options)
        return pipe.getvalue()

    return make


def remuxed(make: Make, container: str, **options: Any) -> Make:
    """The packets of another recording."""
    return lambda path: copied(make(path), container, path=path, **options)


def changed(make: Make, change: Callable[[bytes], bytes]) -> Make:
    """Another recording with `change` applied."""
    return lambda path: change(make(path))


def joined(*parts: Make) -> Make:
    """Several files in one, as `cat` does."""
    return lambda path: b"".join(make(path) for make in parts)


def without_id3(data: bytes) -> bytes:
    """An MP3 file from its first frame on."""
    return data[data.index(b"\xff\xfb") :]


def damaged(data: bytes) -> bytes:
    """`data` with the middle third overwritten."""
    third = len(data) // 3
    return data[:third] + bytes(third) + data[2 * third :]


def with_sox_size(data: bytes) -> bytes:
    """An AIFF file with the size that sox writes to a pipe."""
    at = data.index(b"SSND") + 4
    return data[:at] + b"\x7f\x00\x00\x00" + data[at + 4 :]


def with_unknown_long_size(_: Path) -> bytes:
    """RF64 has 64-bit sizes. FFmpeg rejects 0 and those that are negative."""
    data = bytearray(wav(tone(SECONDS), format="RF64"))
    at = data.index(b"ds64") + 16
    data[at : at + 8] = struct.pack("<Q", 2**63 - 1)
    return bytes(data)


def with_chunk(name: bytes, size: int) -> Callable[[bytes], bytes]:
    """Puts a chunk before the samples of a WAV file, and after them."""
    chunk = name + struct.pack("<I", size) + bytes(size + size % 2)
    return lambda data: data[:12] + chunk + data[12:] + chunk


def plain_wav(_: Path) -> bytes:
    """A WAV file with a single chunk before the samples."""
    return wav(tone(SECONDS))


FLAC = written("flac", "flac")
MP3 = written("mp3", "libmp3lame")
BARE = changed(MP3, without_id3)
MP3_16K = written("mp3", "libmp3lame", rate=16_000)
MKV = written("matroska", "aac", video=True)
M4A = written("ipod", "aac")
FILM = written("mp4", "aac", video=True)
SILENCE = np.zeros(2 * 24_000, np.int16)

COMPLETE: dict[str, Make] = {
    "flac trimmed at the end": remuxed(FLAC, "flac", end=4.0),
    "flac trimmed on both sides": remuxed(FLAC, "flac", start=2.0, end=5.0),
    "flac from mkv": remuxed(remuxed(FLAC, "matroska"), "flac", end=4.0),
    "flac of unknown length": piped("flac", "flac"),
    "flac of unknown length with tags": changed(piped("flac", "flac"), lambda d: d + ape() + ID3V1),
    "flac joined": joined(FLAC, FLAC),
    "flac trimmed and joined": joined(remuxed(FLAC, "flac", end=2.0), FLAC),
    "flac with a cover": remuxed(FLAC, "flac", has_cover=True),
    "flac damaged": changed(FLAC, damaged),
    "mp3 with a cover": remuxed(MP3, "mp3", has_cover=True),
    "mp3 of a constant rate": written("mp3", "libmp3lame", {"write_xing": "0"}),
    "mp3 trimmed": remuxed(MP3, "mp3", start=2.0, end=5.0),
    "mp3 piped": piped("mp3", "libmp3lame"),
    "mp3 joined": joined(MP3, MP3),
    "mp3 joined, 16 and 48 kHz": joined(MP3_16K, MP3),
    "mp3 joined, 48 and 16 kHz": joined(MP3, remuxed(MP3_16K, "mp3", end=1.0)),
    "mp3 damaged": changed(MP3, damaged),
    "mp3 with a large tag": changed(BARE, lambda d: id3(TITLE + bytes(1 << 20)) + d),
    "mp3 with a footer": changed(BARE, lambda d: id3(TITLE, has_footer=True) + d),
    "mp3 with two tags": changed(BARE, lambda d: id3(TITLE) * 2 + d),
    "mp3 with an APE tag": changed(BARE, lambda d: d + ape() + ID3V1),
    "wav adpcm": written("wav", "adpcm_ms"),
    "wav adpcm_ima": written("wav", "adpcm_ima_wav"),
    "wav piped": piped("wav", "pcm_s16le"),
    "wav rf64 of unknown length": with_unknown_long_size,
    "wav with junk": changed(plain_wav, with_chunk(b"JUNK", 28)),
    "wav with an odd chunk": changed(plain_wav, with_chunk(b"LIST", 1_001)),
    "wav with a forged file size": changed(
        plain_wav, lambda d: d[:4] + b"\xff\xff\xff\x05" + d[8:]
    ),
    "wav whose last chunk is missing": changed(plain_wav, lambda d: d + b"LIST\x00\x00\x10\x00"),
    "wav joined": joined(plain_wav, plain_wav),
    "aiff from sox to a pipe": changed(written("aiff", "pcm_s16be"), with_sox_size),
    "mp4 trimmed at the end": remuxed(FILM, "mp4", end=5.0),
    "mp4 trimmed on both sides": remuxed(FILM, "mp4", start=2.0, end=5.0),
    "mp4 faststart": written("mp4", "aac", {"movflags": "faststart"}, video=True),
    "mp4 fragmented": written("mp4", "aac", FRAGMENTED, video=True),
    "mp4 dash": written("mp4", "aac", {"movflags": "dash+global_sidx"}, video=True),
    "mp4 piped": piped("mp4", "aac", FRAGMENTED),
    "mp4 with an empty edit": changed(M4A, lambda d: with_edits(d, [(2000, -1), (3000, 1024)])),
    "mp4 with an edit past the end": changed(M4A, lambda d: with_edits(d, [(6000, 6 * 48_000)])),
    "mp4 played twice": changed(M4A, lambda d: with_edits(d, [(3000, 1024), (3000, 1024)])),
    "mov pcm": written("mov", "pcm_s16le"),
    "mkv trimmed": remuxed(MKV, "matroska", start=2.0, end=5.0),
    "mkv with longer subtitles": remuxed(MKV, "matroska", subtitles=SUBTITLES),
    "mkv live": written("matroska", "aac", {"live": "1"}),
    "mkv piped": piped("matroska", "aac"),
    "mkv joined": joined(MKV, MKV),
    "mkv with tracks of 8 s and 2 s": lambda _: tracks([np.tile(SILENCE + 999, 4), SILENCE]),
    "mkv with tracks of silence": lambda _: tracks([SILENCE, np.tile(SILENCE, 4)]),
    "webm piped": piped("webm", "libopus"),
}


@pytest.mark.parametrize("make", COMPLETE.values(), ids=COMPLETE.keys())
def test_a_complete_file_has_lost_nothing(make: Make, tmp_path: Path) -> None:
    """Players and editors leave lengths in headers that are not those of the file."""
    seconds, lost = lengths(make(tmp_path / "a"))
    assert seconds > 1.9
    assert lost == 0


@pytest.mark.parametrize(
    ("container", "codec"), [("matroska", "aac"), ("webm", "libopus"), ("mp4", "aac")]
)
@pytest.mark.parametrize("has_picture", [False, True])
@pytest.mark.parametrize("start", [-2.0, 0.0, 30.0])
def test_tracks_need_not_begin_and_end_together(
    container: str, codec: str, has_picture: bool, start: float
) -> None:
    """The picture goes on for six seconds after the sound; a stream begins late, or before 0."""
    data = recording(
        container, codec, lambda packets: moved(packets, -1, start), has_picture=has_picture
    )
    assert lengths(data)[1] == 0


class Counted(io.BytesIO):
    """A file that counts how often it is read."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(size)


@pytest.mark.parametrize(
    ("demuxer", "data", "limit"),
    [
        pytest.param("mp3", id3(b"") * 200_000, 20, id="id3"),
        pytest.param("mp3", b"ID3\x04\x00\x00\xff\xff\xff\xff" * 20, 2, id="id3-size"),
        pytest.param("wav", b"RIFF    WAVE" + b"JUNK\x00\x00\x00\x00" * 200_000, 200, id="wav"),
        pytest.param(MP4, b"\x00\x00\x00\x08free" * 200_000, 100_000, id="mp4"),
        pytest.param("matroska,webm", b"\xec\x80" * 200_000, 20, id="mkv"),
        pytest.param("matroska,webm", bytes(100), 1, id="mkv-zeros"),
    ],
)
def test_a_hostile_file_is_read_a_limited_number_of_times(
    demuxer: str, data: bytes, limit: int
) -> None:
    """Thousands of empty parts take no more time than a few."""
    source = Counted(data)
    assert find_cut(source, demuxer, b"") is None
    assert 0 < source.reads <= limit
