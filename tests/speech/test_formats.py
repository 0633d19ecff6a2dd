"""Speech encoded in the six formats."""

import io
import wave

import av
import numpy as np
import pytest
import soundfile

from vibevoice_proxy.speech.formats import ENCODINGS, Encoder
from vibevoice_proxy.speech.lengths import HOLD_SECONDS, MAX_HELD_BYTES, Held

RATE = 24_000
HERTZ = 440.0


def tone(seconds: float) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * HERTZ / RATE * np.arange(round(seconds * RATE)))).astype(
        np.float32
    )


def encode(audio: np.ndarray, response_format: str, speed: float = 1.0) -> bytes:
    """Encode `audio` as a speech model would, in frames of 3200 samples."""
    encoder = Encoder(response_format, RATE, speed)
    parts = [encoder.feed(audio[at : at + 3200]) for at in range(0, len(audio), 3200)]
    return b"".join([*parts, encoder.finish()])


def decode(data: bytes, response_format: str) -> tuple[np.ndarray, int]:
    """Samples (float32, mono) and sample rate of a response."""
    if response_format == "pcm":
        return np.frombuffer(data, "<i2").astype(np.float32) / 32768, RATE
    with av.open(io.BytesIO(data), "r") as container:
        frames = list(container.decode(audio=0))
        resampler = av.AudioResampler("flt", "mono")
        parts = [p.to_ndarray()[0] for f in frames for p in resampler.resample(f)]
        return np.concatenate(parts), frames[0].sample_rate


def pitch(samples: np.ndarray, rate: int) -> float:
    """Frequency of the strongest tone in Hz."""
    middle = samples[len(samples) // 4 : 3 * len(samples) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    return float(spectrum.argmax() * rate / len(middle))


@pytest.mark.parametrize("seconds", [0.1, 1.0, 5.05])
@pytest.mark.parametrize("response_format", ENCODINGS)
def test_length_is_right(response_format: str, seconds: float) -> None:
    """Every format has the length of the speech, within 60 ms."""
    samples, rate = decode(encode(tone(seconds), response_format), response_format)
    assert len(samples) / rate == pytest.approx(seconds, abs=0.06)


@pytest.mark.parametrize("response_format", ENCODINGS)
@pytest.mark.parametrize("speed", [0.25, 0.5, 1.5, 2.0, 4.0])
def test_speed_changes_length_and_keeps_pitch(response_format: str, speed: float) -> None:
    """This holds at OpenAI's limits as well."""
    samples, rate = decode(encode(tone(4), response_format, speed), response_format)
    assert len(samples) / rate == pytest.approx(4 / speed, abs=0.06, rel=0.006)
    assert pitch(samples, rate) == pytest.approx(HERTZ, rel=0.02)


@pytest.mark.parametrize("response_format", sorted(set(ENCODINGS) - set(HOLD_SECONDS)))
def test_first_frame_gives_bytes(response_format: str) -> None:
    """The first frame is sent before there is a second one."""
    encoder = Encoder(response_format, RATE)
    first = encoder.feed(tone(0.1334))
    assert len(decode(first, response_format)[0]) > 0


def test_wav_can_be_read_though_its_length_is_unknown() -> None:
    """libsndfile reads to the end of the file if the response was not held back."""
    data = bytearray(encode(tone(1), "wav"))
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    samples, rate = soundfile.read(io.BytesIO(data))
    assert (len(samples), rate) == (RATE, RATE)


def test_peaks_are_cut() -> None:
    """Samples beyond full scale are clipped, without wrap-around or a change of level."""
    loud = np.array([0.5, 1.5, -1.5, 0.5] * 800, np.float32)
    samples, _ = decode(encode(loud, "pcm"), "pcm")
    assert samples.min() == -1.0
    assert samples.max() == pytest.approx(1.0, abs=1e-4)
    assert samples[0] == pytest.approx(0.5, abs=1e-4)


def test_seams_of_the_stream_are_inaudible() -> None:
    """A tone encoded in pieces equals the tone encoded at once."""
    whole = Encoder("pcm", RATE)
    assert encode(tone(1), "pcm") == whole.feed(tone(1)) + whole.finish()


@pytest.mark.parametrize("seconds", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("response_format", ["wav", "flac"])
def test_the_length_is_in_the_header(response_format: str, seconds: float) -> None:
    """If the response completes in time, programs that rely on headers can read it."""
    data = encode(tone(seconds), response_format)
    assert soundfile.info(io.BytesIO(data)).frames == round(seconds * RATE)
    samples, rate = soundfile.read(io.BytesIO(data))
    assert (len(samples), rate) == (round(seconds * RATE), RATE)
    if response_format == "wav":
        with wave.open(io.BytesIO(data)) as file:
            assert file.getnframes() == len(samples)


@pytest.mark.parametrize("response_format", ["wav", "flac"])
def test_a_slow_answer_does_not_wait_for_its_length(response_format: str) -> None:
    """The response is sent after a moment, with a header that marks the length as unknown."""
    now = 0.0
    held = Held(response_format, clock=lambda: now)
    assert held.feed(b"head") == b""
    now = HOLD_SECONDS[response_format] + 0.01
    assert held.feed(b"more") == b"headmore"
    assert held.feed(b"and") + held.finish(b"end", 100) == b"andend"


@pytest.mark.parametrize("response_format", ["mp3", "opus", "aac", "pcm"])
def test_other_formats_are_not_held_back(response_format: str) -> None:
    """The other formats have no length in the header."""
    assert Held(response_format).feed(b"data") == b"data"


def test_a_large_answer_is_not_held_in_memory() -> None:
    """A large response is sent early, regardless of the time."""
    held = Held("flac", clock=lambda: 0.0)
    assert held.feed(bytes(MAX_HELD_BYTES)) == b""
    assert len(held.feed(b"x")) == MAX_HELD_BYTES + 1
