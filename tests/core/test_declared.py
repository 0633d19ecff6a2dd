"""How much is lost of a file that was cut off follows from its header."""

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from tests.support.containers import copied, tracks
from tests.support.recordings import Pipe, encode_to, encoded, tone, wav

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.declared import UNKNOWN
from vibevoice_core.decode import Report, decode
from vibevoice_core.errors import DecodeError

SECONDS = 8.0
CUTS = (0.3, 0.6, 0.9)
DECLARING = [
    pytest.param("wav", "pcm_s16le", {}, id="wav"),
    pytest.param("wav", "pcm_f32le", {}, id="wav-float"),
    pytest.param("wav", "adpcm_ms", {}, id="wav-adpcm"),
    pytest.param("wav", "pcm_s16le", {"rf64": "always"}, id="rf64"),
    pytest.param("aiff", "pcm_s16be", {}, id="aiff"),
    pytest.param("flac", "flac", {}, id="flac"),
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
    pytest.param("au", "pcm_s16be", id="au"),
    pytest.param("wv", "wavpack", id="wavpack"),
]
STREAMED = [
    pytest.param("wav", "pcm_s16le", 0, id="wav"),
    pytest.param("wav", "pcm_f32le", 0, id="wav-float"),
    pytest.param("flac", "flac", UNKNOWN, id="flac"),
    pytest.param("mp3", "libmp3lame", 0, id="mp3"),
    pytest.param("matroska", "aac", 0, id="mkv-aac"),
    pytest.param("matroska", "pcm_s16le", 0, id="mkv-pcm"),
    pytest.param("webm", "libopus", 0, id="webm"),
]
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov", "frag_duration": "1500000"}
SUBTITLES = "1\n00:00:01,000 --> 00:00:30,000\nThe film goes on.\n"


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
        assert seconds == pytest.approx(part * SECONDS, abs=0.5)
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


@pytest.mark.parametrize(("container", "codec", "lost"), STREAMED)
def test_a_streamed_file_declares_no_length(container: str, codec: str, lost: float) -> None:
    """A program that writes to a pipe cannot write the length to the header. If the last frame of
    such a FLAC is incomplete, something is lost."""
    pipe = Pipe()
    encode_to(pipe, container, codec, SECONDS)
    data = pipe.getvalue()
    assert lengths(data) == (pytest.approx(SECONDS, abs=0.06), 0)
    assert lengths(cut(data, 0.5))[1] == lost


@pytest.mark.parametrize(
    "size",
    [
        *(0, 0xFFFF_FFFF, 0xFFFF_FFFF - 36, 0xFFFF_FFF0),
        *(0x7FFF_F000, 0x7FFF_FFFF, 0x7FFF_FFFF - 36, 0x8000_0000),
        *(0x7F00_0000, 0x7EFF_FFFF, 0xFFFE_0000, 2_000_000_000),
    ],
)
def test_a_size_that_stands_for_an_unknown_one_is_not_believed(size: int) -> None:
    """ffmpeg, sox, arecord, and others write such sizes to a pipe."""
    data = bytearray(wav(tone(2.0)))
    data[40:44] = struct.pack("<I", size)
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
    seconds, lost = lengths(cut(bytes(data), 0.5), max_seconds=100.0)
    assert seconds + lost == 100.0


@pytest.mark.parametrize(
    ("options", "end"),
    [
        pytest.param(FRAGMENTED, None, id="each fragment declares its own length"),
        pytest.param(FRAGMENTED | {"movflags": "dash+global_sidx"}, SECONDS, id="index"),
    ],
)
def test_a_fragmented_mp4_has_lost_at_least_a_second(
    options: dict[str, str], end: float | None, tmp_path: Path
) -> None:
    """More fragments might have followed, unless an index lists them."""
    data = written(tmp_path / "a", "mp4", "aac", options)
    assert lengths(data) == (pytest.approx(SECONDS, abs=0.06), 0)
    for part in CUTS:
        seconds, lost = lengths(cut(data, part))
        assert seconds == pytest.approx(part * SECONDS, abs=0.5)
        assert lost >= UNKNOWN
        if end is None:
            assert lost <= 2
        else:
            assert seconds + lost == pytest.approx(end, abs=0.25)


def test_an_edit_list_says_how_much_would_be_heard(tmp_path: Path) -> None:
    """Only the last 3 s of 8 s are played, of which 0.8 s are lost."""
    data = bytearray(written(tmp_path / "a", "ipod", "aac", {"movflags": "faststart"}))
    struct.pack_into(">II", data, data.index(b"elst") + 12, 9_000, 5 * 48_000)
    seconds, lost = lengths(bytes(data))
    assert (seconds, lost) == (pytest.approx(3.0, abs=0.06), 0)
    seconds, lost = lengths(cut(bytes(data), 0.9))
    assert (seconds, lost) == (pytest.approx(2.2, abs=0.06), pytest.approx(0.8, abs=0.06))


@pytest.mark.parametrize(
    ("tag", "end"), [(b"DURATION", SECONDS), (b"________", 30.0)], ids=["tag", "no tag"]
)
def test_a_track_that_ends_before_the_film(tag: bytes, end: float) -> None:
    """Without a tag with the duration of the sound, it might have gone on to the end."""
    data = copied(encoded("matroska", "aac", SECONDS), "matroska", subtitles=SUBTITLES)
    data = data.replace(b"DURATION", tag)
    assert lengths(data)[1] == 0
    seconds, lost = lengths(cut(data, 0.5))
    assert seconds + lost == pytest.approx(end, abs=0.1)


def test_a_track_that_starts_late() -> None:
    """The tag is the time at which the track ends, not its length."""
    sound = encoded("matroska", "aac", SECONDS)
    late = io.BytesIO()
    with av.open(io.BytesIO(sound), "r") as source, av.open(late, "w", format="matroska") as output:
        track = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux():
            if packet.pts is not None:
                packet.pts += round(5 / packet.time_base)
                packet.dts = packet.pts
                packet.stream = track
                output.mux(packet)
    data = copied(late.getvalue(), "matroska", subtitles=SUBTITLES)
    whole, none = lengths(data)
    assert none == 0
    seconds, lost = lengths(cut(data, 0.5))
    assert seconds + lost == pytest.approx(whole, abs=0.1)


@pytest.mark.parametrize("seconds", [(4.0, 8.0), (8.0, 4.0)], ids=str)
def test_the_longest_of_silent_tracks_counts(seconds: tuple[float, float]) -> None:
    """The result is silence; it was as long as the longest track."""
    data = tracks([np.zeros(int(length * SAMPLE_RATE), np.int16) for length in seconds])
    assert lengths(data) == (pytest.approx(SECONDS, abs=0.06), 0)
    heard, lost = lengths(cut(data, 0.9))
    assert heard < 7.9
    assert heard + lost == pytest.approx(SECONDS, abs=0.1)


def test_a_file_that_was_cut_off_before_its_audio_is_refused(tmp_path: Path) -> None:
    """There is nothing to transcribe."""
    mp4 = written(tmp_path / "a", "mp4", "aac", {"movflags": "faststart"}, video=True)
    audio = mp4.index(b"mdat")
    for data in (
        wav(tone(2.0))[:44],
        *(mp4[:at] for at in range(100, audio, 300)),
        mp4[: audio + 4],
    ):
        with pytest.raises(DecodeError):
            lengths(data)
