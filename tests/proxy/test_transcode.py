"""Any upload is decoded to mono 24 kHz, within limits."""

import io
import socket
import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from tests.support.recordings import encoded, tone, transcoded, wav

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.decode import decode
from vibevoice_proxy.errors import InvalidAudio, StorageFull
from vibevoice_proxy.transcription.sections import Section


@pytest.fixture
def target() -> Iterator[BinaryIO]:
    """An empty file for the result."""
    with tempfile.TemporaryFile(buffering=0) as file:
        yield cast(BinaryIO, file)


def read(data: bytes, target: BinaryIO, **limits: Any) -> Section:
    """`data` transcoded in one section with the default limits."""
    (section,) = transcoded(data, lambda: target, **limits).sections
    return section


def samples(recording: Section) -> NDArray[np.float64]:
    """The samples that the engine would decode."""
    recording.file.seek(0)
    data, rate = soundfile.read(io.BytesIO(recording.file.read()))
    assert rate == SAMPLE_RATE
    assert data.ndim == 1
    return data.astype(np.float64)


def frequency(audio: NDArray[np.float64]) -> float:
    """The strongest frequency in Hz."""
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return float(np.argmax(spectrum)) * SAMPLE_RATE / len(audio)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda: encoded("wav", "pcm_s16le"), id="wav"),
        pytest.param(lambda: encoded("wav", "pcm_f32le"), id="wav of floats"),
        pytest.param(lambda: encoded("wav", "pcm_u8", rate=8_000), id="8 kHz wav"),
        pytest.param(lambda: encoded("wav", "pcm_alaw", rate=8_000), id="A-law"),
        pytest.param(lambda: encoded("wav", "pcm_s24le", rate=192_000), id="192 kHz wav"),
        pytest.param(lambda: encoded("wav", "pcm_s16le", layout="stereo"), id="stereo wav"),
        pytest.param(lambda: encoded("flac", "flac", rate=44_100), id="flac"),
        pytest.param(lambda: encoded("mp3", "libmp3lame", layout="stereo"), id="mp3"),
        pytest.param(lambda: encoded("adts", "aac", rate=44_100), id="aac"),
        pytest.param(lambda: encoded("ogg", "libopus"), id="opus"),
        pytest.param(lambda: wav(tone(2.0), format="OGG", subtype="VORBIS"), id="ogg vorbis"),
        pytest.param(lambda: encoded("webm", "libopus"), id="webm"),
        pytest.param(lambda: encoded("ipod", "aac"), id="m4a, index at the end"),
        pytest.param(lambda: encoded("mp4", "aac", video=True), id="mp4 with video"),
        pytest.param(lambda: encoded("matroska", "aac", layout="5.1", video=True), id="mkv 5.1"),
        pytest.param(lambda: encoded("aiff", "pcm_s16be"), id="aiff"),
    ],
)
def test_every_container_and_codec_gives_the_same_tone(data: Any, target: BinaryIO) -> None:
    """In any container, 2 s of a 440 Hz tone stay the same, at 24 kHz mono."""
    recording = read(data(), target)
    assert recording.duration == pytest.approx(2.0, abs=0.06)
    assert frequency(samples(recording)) == pytest.approx(440, abs=1)
    assert not recording.is_silent


def test_m4a_has_its_index_at_the_end() -> None:
    """The m4a case of the previous test would not work with a pipe."""
    data = encoded("ipod", "aac")
    assert data.index(b"mdat") < data.index(b"moov")


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_mixing_down_neither_clips_nor_halves(subtype: str, target: BinaryIO) -> None:
    """Two equal channels near full scale keep their level when mixed to one."""
    loud = 1.9 * tone(1.0)
    recording = read(wav(np.stack([loud, loud], axis=1), subtype=subtype), target)
    assert np.abs(samples(recording)).max() == pytest.approx(0.95, abs=0.01)


def test_samples_at_the_models_rate_pass_unchanged(target: BinaryIO) -> None:
    """A 24 kHz mono 16-bit recording reaches the engine sample for sample."""
    audio = (tone(1.0) * 32767).astype(np.int16)
    recording = read(wav(audio), target)
    assert (samples(recording) * 32768).astype(np.int16).tolist() == audio.tolist()
    assert recording.samples == len(audio)


@pytest.mark.parametrize(
    ("encoding", "media_type", "signature"),
    [
        ("flac", "audio/flac", b"fLaC"),
        ("wav", "audio/wav", b"RIFF"),
        ("opus", "audio/ogg", b"OggS"),
    ],
)
def test_the_encoding_for_the_engine_can_be_chosen(
    encoding: str, media_type: str, signature: bytes, target: BinaryIO
) -> None:
    """Each encoding matches its media type and contains the whole recording."""
    recording = read(wav(tone(1.0)), target, encoding=encoding)
    target.seek(0)
    data = target.read()
    assert (recording.media_type, data[:4], recording.size) == (media_type, signature, len(data))
    assert len(samples(recording)) == recording.samples == SAMPLE_RATE


@pytest.mark.parametrize(
    ("seconds", "media_type"), [(0.1, "audio/wav"), (30.0, "audio/wav"), (30.001, "audio/flac")]
)
def test_short_sections_are_wav(seconds: float, media_type: str, target: BinaryIO) -> None:
    """With auto, a section of up to 30 s needs no file; the audio is the same either way."""
    audio = (tone(seconds) * 32767).astype(np.int16)
    recording = read(wav(audio), target, encoding="auto")
    assert recording.media_type == media_type
    assert recording.size == recording.file.seek(0, io.SEEK_END)
    assert (samples(recording) * 32768).astype(np.int16).tolist() == audio.tolist()
    assert (target.seek(0, io.SEEK_END) > 0) == (media_type == "audio/flac")


def test_one_section_at_most_is_kept_in_memory(tmp_path: Path) -> None:
    """Further sections are in files even if they are short, since hours of audio would have
    many."""
    files: list[BinaryIO] = []

    def new_file() -> BinaryIO:
        files.append(cast(BinaryIO, (tmp_path / f"{len(files)}").open("w+b", buffering=0)))
        return files[-1]

    with ExitStack() as opened:
        sections = transcoded(
            wav(tone(7.0)), new_file, encoding="auto", max_section_seconds=2
        ).sections
        for file in files:
            opened.enter_context(file)
        assert [section.media_type for section in sections] == [
            "audio/wav",
            *["audio/flac"] * (len(sections) - 1),
        ]
        assert [section.file for section in sections[1:]] == files
        assert sum(section.samples for section in sections) == 7 * SAMPLE_RATE


def test_the_rate_may_change_on_the_way(target: BinaryIO) -> None:
    """Two consecutive AAC streams with different rates and channels are both decoded."""
    first = encoded("adts", "aac", 1.0, rate=44_100)
    second = encoded("adts", "aac", 1.0, rate=48_000, layout="stereo")
    recording = read(first + second, target)
    assert recording.duration == pytest.approx(2.0, abs=0.15)
    assert frequency(samples(recording)[-SAMPLE_RATE // 2 :]) == pytest.approx(440, abs=3)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda: wav(tone(4.0)), id="wav"),
        pytest.param(lambda: encoded("mp3", "libmp3lame", 4.0), id="mp3"),
        pytest.param(lambda: encoded("webm", "libopus", 4.0), id="webm"),
    ],
)
def test_a_truncated_file_gives_what_is_there(data: Any, target: BinaryIO) -> None:
    """A truncated recording is transcribed up to the point where it ends."""
    whole = data()
    recording = read(whole[: len(whole) // 2], target)
    assert 1.0 < recording.duration < 3.0


def test_damage_in_the_middle_is_left_out(target: BinaryIO) -> None:
    """Corrupt packets only affect their own time span."""
    data = bytearray(encoded("ogg", "libopus", 4.0))
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    assert read(bytes(data), target).duration > 2.0


SECRET_TONE = wav(tone(1.0))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(lambda: b"", "invalid_audio", id="zero bytes"),
        pytest.param(lambda: bytes(100_000), "invalid_audio", id="zeros"),
        pytest.param(
            lambda: np.random.default_rng(0).bytes(300_000), "invalid_audio", id="garbage"
        ),
        pytest.param(lambda: b"hello world " * 1000, "invalid_audio", id="text"),
        pytest.param(lambda: wav(tone(1.0))[:44], "invalid_audio", id="header only"),
        pytest.param(lambda: wav(tone(0.01)), "audio_too_short", id="10 ms"),
        pytest.param(lambda: wav(np.zeros(0)), "audio_too_short", id="no samples"),
        pytest.param(
            lambda: encoded("ipod", "aac", 4.0)[:8000], "invalid_audio", id="m4a without its index"
        ),
        pytest.param(
            lambda: wav(np.full(24_000, np.nan), subtype="FLOAT"), "invalid_audio", id="NaN"
        ),
        pytest.param(
            lambda: wav(np.append(tone(1.0), np.inf), subtype="DOUBLE"), "invalid_audio", id="inf"
        ),
        pytest.param(lambda: wav(tone(1.0), rate=10), "invalid_audio", id="forged low rate"),
        pytest.param(
            lambda: wav(tone(1.0), rate=2_000_000_000), "invalid_audio", id="forged high rate"
        ),
    ],
)
def test_what_is_no_recording_is_refused(data: Any, code: str, target: BinaryIO) -> None:
    """Every invalid file is rejected with its own code; none is passed on as an empty or corrupt
    recording."""
    with pytest.raises(InvalidAudio) as refused:
        read(data(), target)
    assert refused.value.code == code


def test_video_without_sound_is_refused(target: BinaryIO) -> None:
    """The message says what is missing."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        picture = output.add_stream("mpeg4", rate=5)
        picture.width = picture.height = 32
        output.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        output.mux(picture.encode(None))
    with pytest.raises(InvalidAudio, match="contains no audio"):
        read(file.getvalue(), target)


@pytest.mark.parametrize(
    "playlist",
    [
        pytest.param(
            "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n", id="HLS"
        ),
        pytest.param("ffconcat version 1.0\nfile {}\n", id="concat"),
        pytest.param('<?xml version="1.0"?><MPD><BaseURL>{}</BaseURL></MPD>', id="DASH"),
    ],
)
def test_a_playlist_opens_no_other_file(playlist: str, target: BinaryIO, tmp_path: Path) -> None:
    """A file that references another file on this machine is rejected."""
    secret = tmp_path / "secret.wav"
    secret.write_bytes(SECRET_TONE)
    with pytest.raises(InvalidAudio):
        read(playlist.format(secret).encode(), target)


def test_a_session_description_opens_no_socket(target: BinaryIO) -> None:
    """An SDP file, which would make ffmpeg listen on a UDP port, is rejected."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    description = (
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n"
    )
    with pytest.raises(InvalidAudio):
        read(description.encode(), target, timeout=5.0)


def test_a_recording_over_the_limit_is_refused_while_it_is_decoded(target: BinaryIO) -> None:
    """A small file with hours of audio is only decoded up to the limit."""
    minutes = encoded("ogg", "libopus", 120.0)
    with pytest.raises(InvalidAudio, match="at most 30 seconds") as refused:
        read(minutes, target, max_seconds=30.0)
    assert refused.value.code == "audio_too_long"
    target.seek(0)
    assert len(target.read()) < 40 * SAMPLE_RATE * 2


def test_a_recording_of_exactly_the_limit_is_taken(target: BinaryIO) -> None:
    """The limit itself is allowed."""
    assert read(wav(tone(2.0)), target, max_seconds=2.0).samples == 2 * SAMPLE_RATE


def test_decoding_stops_at_its_time_limit(target: BinaryIO) -> None:
    """A file that takes too long to decode is rejected."""
    with pytest.raises(InvalidAudio, match="could not be decoded within"):
        read(wav(tone(2.0)), target, timeout=1e-9)


def test_decoding_stops_when_it_is_cancelled() -> None:
    """The caller's check runs between packets, and its exception is raised."""
    calls = []

    def cancel_third() -> None:
        calls.append(None)
        if len(calls) == 3:
            raise KeyboardInterrupt

    source = io.BytesIO(wav(tone(60.0)))
    blocks = decode(source, np.int16, max_seconds=60, timeout=60, check_cancelled=cancel_third)
    with pytest.raises(KeyboardInterrupt):
        list(blocks)
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("audio", "silent"),
    [
        pytest.param(np.zeros(24_000), True, id="digital silence"),
        pytest.param(np.tile([2.0, -2.0], 12_000) / 32768, True, id="dither"),
        pytest.param(np.tile([40.0, -40.0], 12_000) / 32768, False, id="a quiet room"),
    ],
)
def test_silence_is_told_from_a_quiet_room(
    audio: NDArray[np.float64], silent: bool, target: BinaryIO
) -> None:
    """Only levels below those of any microphone count as silence."""
    assert read(wav(audio), target).is_silent is silent


def test_a_full_disk_is_told_from_a_bad_recording() -> None:
    """A failed write is not the recording's fault."""
    with open("/dev/full", "r+b", buffering=0) as full, pytest.raises(StorageFull):
        read(wav(np.random.default_rng(0).uniform(-1, 1, 240_000)), cast(BinaryIO, full))


def test_a_forged_length_is_not_believed(target: BinaryIO) -> None:
    """The actual samples count, not the length in the header."""
    data = bytearray(wav(tone(1.0)))
    data[40:44] = struct.pack("<I", 0x7FFFFFF0)
    assert read(bytes(data), target).samples == SAMPLE_RATE
