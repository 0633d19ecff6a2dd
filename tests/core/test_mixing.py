"""No channel is lost in mixing."""

import io
from typing import Any, cast

import av
import numpy as np
import pytest
import soundfile
from av.audio.stream import AudioStream
from numpy.typing import NDArray
from tests.support.recordings import encoded, tone, wav

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.containers import DEMUXERS
from vibevoice_core.decode import Report, decode
from vibevoice_core.mixing import Mixer

QUIET = 1e-5
"""-100 dBFS: nothing of this remains in 16 bits."""


def decoded(data: bytes, **options: Any) -> NDArray[np.float64]:
    """The audio of a file, with full scale 1.0."""
    blocks = decode(io.BytesIO(data), np.int16, max_seconds=60, timeout=60, **options)
    return np.concatenate(list(blocks)) / 32768


def level(samples: NDArray[np.floating]) -> float:
    """Root mean square in dB of full scale, without the first and last 50 ms."""
    inner = samples[SAMPLE_RATE // 20 : -SAMPLE_RATE // 20]
    return float(20 * np.log10(np.sqrt(np.mean(inner**2)) + 1e-12))


TONE = level(tone(2.0))


@pytest.mark.parametrize("channels", [2, 3, 4, 5, 6, 7, 8, 10, 16, 24, 60])
@pytest.mark.parametrize("speaking", ["first", "middle", "last"])
def test_a_voice_on_one_channel_of_many_is_kept(channels: int, speaking: str) -> None:
    """Whatever the number of channels and whichever one speaks, at most 9 dB are lost."""
    samples = np.zeros((2 * SAMPLE_RATE, channels), np.float32)
    number = {"first": 0, "middle": channels // 2, "last": channels - 1}[speaking]
    samples[:, number] = tone(2.0)
    assert level(decoded(wav(samples))) > TONE - 9.1


@pytest.mark.parametrize(("layout", "channels"), [("7.1", 8), ("hexadecagonal", 16)])
def test_a_voice_on_one_plane_of_many_is_kept(layout: str, channels: int) -> None:
    """Frames whose channels are in separate planes are read only up to the last plane."""
    samples = np.zeros((2 * SAMPLE_RATE, channels), np.float32)
    samples[:, -1] = tone(2.0)
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = cast(AudioStream, output.add_stream("libopus", rate=SAMPLE_RATE, layout=layout))
        stream.codec_context.options = {"mapping_family": "255"}
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate = SAMPLE_RATE
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert level(decoded(file.getvalue())) > TONE - 9.1


def test_samples_of_64_bits_are_read() -> None:
    """FFmpeg writes such WAV files, but PyAV does not convert them to NumPy."""
    assert level(decoded(encoded("wav", "pcm_s64le", 2.0))) == pytest.approx(TONE, abs=0.5)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_channels_that_cancel_are_kept(subtype: str) -> None:
    """On a balanced microphone at a stereo input, the right channel is the inverse of the left
    one."""
    samples = np.stack([tone(2.0), -tone(2.0)], axis=1)
    assert level(decoded(wav(samples, subtype=subtype))) == pytest.approx(TONE, abs=0.5)


def test_four_channels_that_cancel_are_kept() -> None:
    """This includes channels that cancel each other in pairs."""
    samples = np.stack([tone(2.0), -tone(2.0), 0.5 * tone(2.0), -0.5 * tone(2.0)], axis=1)
    assert level(decoded(wav(samples))) == pytest.approx(TONE, abs=0.5)


def test_two_speakers_on_two_channels_are_both_kept() -> None:
    """Each speaks in one half of the recording, and both together."""
    left, right = tone(3.0), tone(3.0, frequency=700.0)
    left[2 * SAMPLE_RATE :] = 0
    right[:SAMPLE_RATE] = 0
    mixed = decoded(wav(np.stack([left, right], axis=1)))
    for start in range(3):
        part = mixed[start * SAMPLE_RATE : (start + 1) * SAMPLE_RATE]
        assert level(part) > TONE - 7


def test_the_choice_makes_no_click() -> None:
    """When the loudest channel takes over, neighboring samples differ no more than in a tone."""
    samples = np.zeros((10, 3 * 48_000), np.float32)
    samples[:, :48_000] = tone(1.0, 48_000) * 0.5
    samples[3, 48_000:] = tone(2.0, 48_000)
    mixer = Mixer([f"ch{n}" for n in range(10)], 48_000)
    mixed = np.concatenate([mixer.mix(part) for part in np.array_split(samples, 7, axis=1)])
    steepest = np.abs(np.diff(tone(1.0, 48_000))).max()
    assert np.abs(np.diff(mixed)).max() < 1.5 * steepest


def test_effects_do_not_drown_the_dialog() -> None:
    """Rumble on the low-frequency channel is ignored while any other channel has sound."""
    names = ["FL", "FR", "FC", "LFE", "BL", "BR"]
    samples = np.zeros((6, 48_000), np.float32)
    samples[2] = 0.05 * tone(1.0, 48_000)
    samples[3] = tone(1.0, 48_000, frequency=40.0)
    mixed = Mixer(names, 48_000).mix(samples)
    assert np.argmax(np.abs(np.fft.rfft(mixed))) == 440
    samples[2] = 0
    assert level(Mixer(names, 48_000).mix(samples)) == pytest.approx(TONE, abs=0.5)


@pytest.mark.parametrize(
    ("form", "subtype"), [("WAV", "PCM_24"), ("FLAC", "PCM_24"), ("WAV", "FLOAT")]
)
def test_levels_of_fine_recordings_are_seen(form: str, subtype: str) -> None:
    """The peak is that of the file, far below 16-bit resolution, and a gain raises it."""
    data = wav(QUIET * 2 * tone(2.0), subtype=subtype, format=form)
    report = Report()
    assert np.abs(decoded(data, report=report)).max() < 2 / 32768
    levels = report.levels
    assert levels.is_fine
    assert levels.peak == pytest.approx(QUIET, rel=0.05)
    assert level(decoded(data, gain=0.5 / levels.peak)) == pytest.approx(TONE, abs=0.5)


@pytest.mark.parametrize(("container", "codec"), [("mp3", "libmp3lame"), ("ogg", "libopus")])
def test_lossy_recordings_are_not_fine(container: str, codec: str) -> None:
    """Their decoders' output for silence is not a signal, however small the steps."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = cast(AudioStream, output.add_stream(codec, rate=48_000))
        for _ in range(20):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 960), np.float32), format="flt", layout="mono"
            )
            frame.sample_rate = 48_000
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    report = Report()
    decoded(file.getvalue(), report=report)
    assert not report.levels.is_fine


def test_the_next_track_is_heard_when_the_first_is_silent() -> None:
    """Screen recorders write two tracks; the result is silence if all are silent."""
    for amplitude, expected in ((0.5, TONE - 6), (0.0, -240)):
        file = io.BytesIO()
        with av.open(file, "w", format="matroska") as output:
            tracks = [
                cast(AudioStream, output.add_stream("pcm_s16le", rate=24_000, layout="mono"))
                for _ in range(2)
            ]
            for track, samples in zip(tracks, (0 * tone(2.0), amplitude * tone(2.0)), strict=True):
                frame = av.AudioFrame.from_ndarray(
                    (samples * 32767).astype(np.int16)[None], format="s16", layout="mono"
                )
                frame.sample_rate = 24_000
                output.mux(track.encode(frame))
                output.mux(track.encode(None))
        audio = decoded(file.getvalue())
        assert len(audio) == pytest.approx(2 * SAMPLE_RATE, abs=10)
        assert level(audio) == pytest.approx(expected, abs=1)


def test_large_tags_before_the_audio_are_passed_over() -> None:
    """Examples are a 20 MB picture in an ID3 tag, and a WAV with as much data before its
    samples."""
    size = 20_000_000
    id3 = b"ID3\x03\0\0" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0)) + bytes(size)
    mp3 = io.BytesIO()
    soundfile.write(mp3, tone(2.0), 24_000, format="MP3")
    plain = wav(tone(2.0))
    chunk = b"JUNK" + size.to_bytes(4, "little") + bytes(size)
    padded = plain[:4] + (len(plain) + len(chunk) - 8).to_bytes(4, "little") + plain[8:12]
    for data in (id3 + mp3.getvalue(), padded + chunk + plain[12:]):
        assert level(decoded(data)) == pytest.approx(TONE, abs=1)


def test_the_demuxers_are_known_and_open_nothing_else() -> None:
    """Every demuxer exists in the bundled FFmpeg; none reads playlists, other files, or sockets."""
    names = DEMUXERS.split(",")
    assert len(names) == len(set(names)) > 150
    known = {part for name in av.formats_available for part in name.split(",")}
    assert set(names) <= known
    assert not set(names) & {
        *("hls", "applehttp", "dash", "concat", "concatf", "sdp", "rtsp", "rtp", "sap", "imf"),
        *("image2", "image2pipe", "lavfi", "alsa", "mlv", "webm_dash_manifest", "tty", "data"),
    }
