"""A file that was cut off is told from a complete one if its header declares the length."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from tests.core.test_timeline import moved, recording
from tests.support.recordings import Pipe, encode_to, encoded, tone, wav

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.decode import Report, decode

SECONDS = 8.0
CUTS = (0.3, 0.6, 0.9)
DECLARING = [
    pytest.param("wav", "pcm_s16le", {}, id="wav"),
    pytest.param("wav", "pcm_f32le", {}, id="wav-float"),
    pytest.param("wav", "adpcm_ms", {}, id="wav-adpcm"),
    pytest.param("wav", "pcm_s16le", {"rf64": "always"}, id="rf64"),
    pytest.param("aiff", "pcm_s16be", {}, id="aiff"),
    pytest.param("au", "pcm_s16be", {}, id="au"),
    pytest.param("flac", "flac", {}, id="flac"),
    pytest.param("tta", "tta", {}, id="tta"),
    pytest.param("wv", "wavpack", {}, id="wavpack"),
    pytest.param("mp3", "libmp3lame", {}, id="mp3"),
    pytest.param("mp3", "libmp3lame", {"id3v2_version": "0"}, id="mp3-without-id3"),
    pytest.param("matroska", "aac", {}, id="mkv-aac"),
    pytest.param("matroska", "pcm_s16le", {}, id="mkv-pcm"),
    pytest.param("webm", "libopus", {}, id="webm"),
    pytest.param("mp4", "aac", {"movflags": "faststart"}, id="mp4"),
    pytest.param("ipod", "alac", {"movflags": "faststart"}, id="m4a-alac"),
]
SILENT_ABOUT_IT = [
    pytest.param("adts", "aac", id="aac"),
    pytest.param("ogg", "libopus", id="ogg"),
    pytest.param("mpegts", "aac", id="ts"),
    pytest.param("ac3", "ac3", id="ac3"),
]
STREAMED = [
    pytest.param("wav", "pcm_s16le", id="wav"),
    pytest.param("wav", "pcm_f32le", id="wav-float"),
    pytest.param("au", "pcm_s16be", id="au"),
    pytest.param("flac", "flac", id="flac"),
    pytest.param("mp3", "libmp3lame", id="mp3"),
    pytest.param("matroska", "aac", id="mkv-aac"),
    pytest.param("matroska", "pcm_s16le", id="mkv-pcm"),
    pytest.param("webm", "libopus", id="webm"),
]


def lengths(data: bytes, max_seconds: float = 3600.0) -> tuple[float, float]:
    """Seconds of audio in a file, and seconds that are lost at its end."""
    report = Report()
    blocks = decode(io.BytesIO(data), np.int16, max_seconds=max_seconds, timeout=60, report=report)
    return sum(map(len, blocks)) / SAMPLE_RATE, report.lost_seconds


def written(
    path: Path, container: str, codec: str, options: dict[str, str], *, video: bool = False
) -> bytes:
    """A recording that was written to a file; `faststart` needs one."""
    encode_to(path, container, codec, SECONDS, video=video, options=options)
    return path.read_bytes()


def cut(data: bytes, part: float) -> bytes:
    """The first `part` of `data`."""
    return data[: round(len(data) * part)]


@pytest.mark.parametrize(("container", "codec", "options"), DECLARING)
def test_the_lost_end_is_known(
    container: str, codec: str, options: dict[str, str], tmp_path: Path
) -> None:
    """Audio and lost end add up to the declared length; a complete file has lost nothing."""
    data = written(tmp_path / "a", container, codec, options)
    seconds, lost = lengths(data)
    assert (seconds, lost) == (pytest.approx(SECONDS, abs=0.06), 0)
    for part in CUTS:
        seconds, lost = lengths(cut(data, part))
        assert seconds == pytest.approx(part * SECONDS, abs=1.1)  # WavPack's blocks take a second
        assert seconds + lost == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_the_frames_of_an_mp3_are_counted_at_every_rate(
    rate: int, layout: str, tmp_path: Path
) -> None:
    """The place of the count and the length of a frame differ between MPEG-1, -2, and -2.5."""
    encode_to(tmp_path / "a", "mp3", "libmp3lame", SECONDS, rate=rate, layout=layout)
    data = (tmp_path / "a").read_bytes()
    assert lengths(data) == (pytest.approx(SECONDS, abs=0.06), 0)
    seconds, lost = lengths(cut(data, 0.5))
    assert seconds + lost == pytest.approx(SECONDS, abs=0.3)


@pytest.mark.parametrize(("container", "codec"), STREAMED)
def test_a_streamed_file_declares_no_length(container: str, codec: str) -> None:
    """A program that writes to a pipe cannot write the length to the header."""
    pipe = Pipe()
    encode_to(pipe, container, codec, SECONDS)
    data = pipe.getvalue()
    assert lengths(data) == (pytest.approx(SECONDS, abs=0.06), 0)
    assert lengths(cut(data, 0.5))[1] == 0


@pytest.mark.parametrize(
    "size",
    [
        *(0, 0xFFFF_FFFF, 0xFFFF_FFFF - 36, 0xFFFF_FFF0),
        *(0x7FFF_F000, 0x7FFF_FFFF, 0x7FFF_FFFF - 36, 0x8000_0000),
    ],
)
def test_a_size_that_stands_for_an_unknown_one_is_not_believed(size: int) -> None:
    """ffmpeg, sox, arecord, and others write such sizes to a pipe."""
    data = bytearray(wav(tone(2.0)))
    data[40:44] = struct.pack("<I", size)
    assert lengths(bytes(data)) == (2.0, 0)


def test_a_long_size_may_stand_for_an_unknown_one_too() -> None:
    """RF64 has 64-bit sizes. FFmpeg rejects 0 and those that are negative."""
    data = bytearray(wav(tone(2.0), format="RF64"))
    at = data.index(b"ds64") + 16
    data[at : at + 8] = struct.pack("<Q", 2**63 - 1)
    assert lengths(bytes(data)) == (2.0, 0)


@pytest.mark.parametrize(("container", "codec"), SILENT_ABOUT_IT)
def test_an_estimated_length_loses_nothing(container: str, codec: str) -> None:
    """Where only the bit rate or the last time is known, nothing can be said."""
    data = encoded(container, codec, SECONDS)
    for part in (*CUTS, 1.0):
        assert lengths(cut(data, part))[1] == 0


def test_an_mp3_of_a_variable_rate_without_a_count_loses_nothing() -> None:
    """The estimate from the first frames, here loud noise before silence, is far too short or too
    long."""
    rng = np.random.default_rng(0)
    audio = np.concatenate([np.zeros(4 * 24_000), rng.uniform(-0.9, 0.9, 2 * 24_000)])
    for samples in (audio, audio[::-1]):
        data = wav(samples, format="MP3", subtype="MPEG_LAYER_III")
        header = data.find(b"Xing")
        assert header > 0
        count = data[:header] + b"None" + data[header + 4 :]
        assert lengths(count)[1] == 0


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_video_is_cut_off_with_its_sound(container: str, tmp_path: Path) -> None:
    """The lost end of the sound is known."""
    data = written(tmp_path / "a", container, "aac", {"movflags": "faststart"}, video=True)
    assert lengths(data) == (pytest.approx(SECONDS, abs=0.06), 0)
    for part in CUTS:
        seconds, lost = lengths(cut(data, part))
        assert seconds + lost == pytest.approx(SECONDS, abs=0.3)


@pytest.mark.parametrize(
    ("container", "codec"), [("matroska", "aac"), ("webm", "libopus"), ("mp4", "aac")]
)
def test_sound_that_ends_before_the_picture_loses_nothing(container: str, codec: str) -> None:
    """The file is complete: its picture goes on for six seconds."""
    data = recording(container, codec, lambda packets: packets, has_picture=True)
    assert lengths(data)[1] == 0


@pytest.mark.parametrize(
    ("container", "codec"), [("matroska", "aac"), ("webm", "libopus"), ("mp4", "aac")]
)
@pytest.mark.parametrize("has_picture", [False, True])
def test_a_recording_that_begins_late_loses_nothing(
    container: str, codec: str, has_picture: bool
) -> None:
    """The times of a part of a stream need not begin at 0."""
    data = recording(
        container, codec, lambda packets: moved(packets, -1, 30.0), has_picture=has_picture
    )
    assert lengths(data)[1] == 0


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska"])
def test_a_recording_whose_beginning_is_skipped_loses_nothing(container: str) -> None:
    """An edit list of MP4 hides the samples before 0."""
    data = recording(container, "aac", lambda packets: moved(packets, -1, -2.0))
    assert lengths(data)[1] == 0


def test_two_files_in_one_lose_nothing() -> None:
    """The first header declares only its own part."""
    for first in (
        wav(tone(2.0)),
        encoded("mp3", "libmp3lame", 2.0),
        encoded("flac", "flac", 2.0),
    ):
        assert lengths(first + first)[1] == 0


def test_chunks_and_tags_around_the_audio_do_not_count() -> None:
    """A WAV file with more chunks before and after its samples is complete."""
    data = wav(tone(2.0))
    chunk = b"LIST" + struct.pack("<I", 1_001) + bytes(1_002)
    assert lengths(data[:36] + chunk + data[36:] + chunk) == (2.0, 0)
    seconds, lost = lengths((data[:36] + chunk + data[36:])[: 24_000 * 2])
    assert seconds + lost == pytest.approx(2.0, abs=0.01)


def test_no_more_is_lost_than_would_be_accepted() -> None:
    """A forged length of days cannot claim more than the limit."""
    data = bytearray(encoded("flac", "flac", 4.0))
    data[21] |= 0x0F  # the upper bits of the number of samples
    assert lengths(bytes(data), max_seconds=100.0) == (4.0, 96.0)
