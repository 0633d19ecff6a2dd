"""The engine reads, normalizes, and splits a recording before encoding it."""

import base64
import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.recordings import encoded, tone, wav
from transformers import VibeVoiceAcousticTokenizerFeatureExtractor

from vibevoice_vllm.audio import check, cut, normalize
from vibevoice_vllm.media import RecordingConnector, RecordingIO, read_audio
from vibevoice_vllm.processor import RecordingParser
from vibevoice_vllm.settings import PluginSettings

HOP = 3200
SETTINGS = PluginSettings(engine_audio_seconds=10)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        pytest.param(np.zeros(0, np.float32), "empty", id="empty"),
        pytest.param(np.zeros((2, 9), np.float32), "one channel", id="two-channels"),
        pytest.param(np.zeros(24_001, np.float32), "at most 1 seconds", id="too-long"),
        pytest.param(np.array([0, np.nan], np.float32), "not finite", id="nan"),
        pytest.param(np.array([0, np.inf], np.float32), "not finite", id="inf"),
        pytest.param(np.array([0, 1e30], np.float32), "far too large", id="overflow"),
    ],
)
def test_check_refuses(samples: np.ndarray, expected: str) -> None:
    """The message says what was expected."""
    with pytest.raises(ValueError, match=expected):
        check(samples, max_seconds=1)


@pytest.mark.parametrize("level", [1e-9, 1e-3, 0.5, 30.0], ids=["silent", "low", "usual", "loud"])
def test_normalize_is_transformers(level: float) -> None:
    """The level is the same as with transformers' feature extractor."""
    samples = (tone(1.7) + 0.01) * np.float32(level)
    extractor = VibeVoiceAcousticTokenizerFeatureExtractor()
    expected = extractor([samples], sampling_rate=24_000)["input_values"][0, 0]
    torch.testing.assert_close(torch.from_numpy(normalize(samples, HOP)), expected)


def test_normalize_limits_the_peak() -> None:
    """A click stays within the range on which the encoders were trained."""
    samples = np.zeros(24_000, np.float32)
    samples[5] = 1.0
    assert abs(normalize(samples, HOP)).max() <= 1.0


@pytest.mark.parametrize("count", [1, HOP, HOP + 1, 2 * HOP - 1])
def test_normalize_fills_the_last_hop(count: int) -> None:
    """A recording of any length becomes ceil(samples / 3200) tokens, with silence at its end."""
    whole = normalize(np.ones(count, np.float32), HOP)
    assert len(whole) == -(-count // HOP) * HOP
    assert whole[:count].all() and not whole[count:].any()


@pytest.mark.parametrize("tokens", [1, 29, 30, 31, 60, 101])
def test_windows_cover_the_recording(tokens: int) -> None:
    """The windows themselves are contiguous, and each is preceded by its context."""
    samples = np.random.default_rng(0).standard_normal(tokens * HOP).astype(np.float32)
    windows = cut(samples, HOP, window_tokens=30, context_tokens=7)
    assert sum(window.tokens for window in windows) == tokens
    own = np.concatenate([window.samples[-window.tokens * HOP :] for window in windows])
    assert np.array_equal(own, samples)
    for window in windows[1:]:
        assert len(window.samples) == (7 + window.tokens) * HOP
    assert len({window.seed for window in windows}) == len(windows)


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        pytest.param("wav", "pcm_s16le", id="wav"),
        pytest.param("flac", "flac", id="flac"),
        pytest.param("mp3", "libmp3lame", id="mp3"),
        pytest.param("mp4", "aac", id="m4a"),
        pytest.param("webm", "libopus", id="webm"),
        pytest.param("ogg", "libopus", id="ogg"),
        pytest.param("matroska", "pcm_s16le", id="matroska"),
        pytest.param("wv", "wavpack", id="wv"),
        pytest.param("tta", "tta", id="tta"),
    ],
)
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_read_audio_containers(container: str, codec: str, layout: str) -> None:
    """Every common container decodes to mono at 24 kHz with the correct length and pitch."""
    data = encoded(container, codec, 2.0, layout=layout)
    samples = read_audio(io.BytesIO(data), SETTINGS)
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(48_000, abs=2000)
    spectrum = np.abs(np.fft.rfft(samples[4000:28_000]))
    assert spectrum.argmax() == pytest.approx(440, abs=2)


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
def test_read_audio_resamples(rate: int) -> None:
    """Every rate is resampled to 24 kHz with the same duration."""
    samples = read_audio(io.BytesIO(wav(tone(1.5, rate), rate)), SETTINGS)
    assert len(samples) == pytest.approx(36_000, abs=100)


@pytest.mark.parametrize("part", [0.3, 0.9])
@pytest.mark.parametrize(
    ("container", "codec"), [("flac", "flac"), ("wav", "pcm_s16le"), ("mp3", "libmp3lame")]
)
def test_read_audio_truncated(container: str, codec: str, part: float) -> None:
    """A truncated recording is decoded as far as possible."""
    data = encoded(container, codec, 4.0)
    samples = read_audio(io.BytesIO(data[: int(part * len(data))]), SETTINGS)
    assert 0 < len(samples) < 4.0 * 24_000


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", "could not be decoded", id="no-bytes"),
        pytest.param(b"not audio at all " * 99, "could not be decoded", id="text"),
        pytest.param(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "could not", id="playlist"),
        pytest.param(wav(tone(12.0)), "at most 10 seconds", id="too-long"),
    ],
)
def test_read_audio_refuses(data: bytes, expected: str) -> None:
    """The message says what was expected."""
    with pytest.raises(ValueError, match=expected):
        read_audio(io.BytesIO(data), SETTINGS)


def test_read_audio_stops_at_the_limit() -> None:
    """An hour in a few kilobytes does not take an hour's memory."""
    data = encoded("flac", "flac", 120.0, rate=8_000)
    tracemalloc.start()
    with pytest.raises(ValueError, match="too long"):
        read_audio(io.BytesIO(data), PluginSettings(engine_audio_seconds=2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_read_audio_takes_a_bounded_time() -> None:
    """A recording that is expensive to decode does not block a thread of the engine."""
    settings = PluginSettings(decode_timeout=1e-6)
    with pytest.raises(ValueError, match="could not be decoded within 1e-06 seconds"):
        read_audio(io.BytesIO(wav(tone(1.0))), settings)


def test_parser_mixes_down_and_resamples() -> None:
    """Audio decoded by vLLM itself (in its own transcription route) is also mixed and resampled."""
    stereo = np.stack([tone(1.0, 8_000), tone(1.0, 8_000)])
    items = RecordingParser(max_seconds=10).parse_mm_data({"audio": (stereo, 8_000)})
    (samples,) = items["audio"].get_all()
    assert samples.shape == (24_000,)
    assert samples.dtype == np.float32


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param([None], "only by id", id="no-data"),
        pytest.param(torch.zeros(1, 4, 8), "embeddings", id="embeddings"),
        pytest.param({"audio_embeds": torch.zeros(4, 8)}, "embeddings", id="embedding-dict"),
    ],
)
def test_parser_refuses(data: object, expected: str) -> None:
    """Only a recording is accepted."""
    with pytest.raises(ValueError, match=expected):
        RecordingParser(max_seconds=10).parse_mm_data({"audio": data})  # type: ignore[dict-item]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An allowed folder with a recording, and a recording outside of it."""
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed" / "a.wav").write_bytes(wav(tone(0.5)))
    (tmp_path / "b.wav").write_bytes(wav(tone(0.5)))
    (tmp_path / "allowed" / "link.wav").symlink_to(tmp_path / "b.wav")
    return tmp_path


def test_file_below_the_allowed_folder(folder: Path) -> None:
    """file: URLs are read from the folder that the operator allowed."""
    connector = RecordingConnector(allowed_local_media_path=str(folder / "allowed"))
    samples, rate = connector.fetch_audio((folder / "allowed" / "a.wav").as_uri())
    assert (len(samples), rate) == (12_000, 24_000)


@pytest.mark.parametrize(
    "name", ["b.wav", "allowed/../b.wav", "allowed/%2e%2e/b.wav", "allowed/link.wav"]
)
def test_file_outside_is_refused(folder: Path, name: str) -> None:
    """No path leads out of the folder, and the message does not reveal the folder."""
    connector = RecordingConnector(allowed_local_media_path=str(folder / "allowed"))
    with pytest.raises(ValueError, match="not allowed") as refused:
        connector.fetch_audio(f"file://{folder}/{name}")
    assert str(folder) not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("http://127.0.0.1:1/a.wav", "URLs are not fetched", id="http"),
        pytest.param("HTTP://127.0.0.1:1/a.wav", "URLs are not fetched", id="http-upper-case"),
        pytest.param("file:///etc/passwd", "not allowed", id="file"),
        pytest.param("data:audio/wav,abc", "form data:audio/wav;base64", id="not-base64"),
        pytest.param("data:audio/wav;base64,!!!!", "not valid base64", id="broken-base64"),
        pytest.param("", "data: URL", id="empty"),
    ],
)
async def test_url_is_refused(url: str, expected: str) -> None:
    """Only valid data: URLs are accepted by default."""
    with pytest.raises(ValueError, match=expected):
        await RecordingConnector().fetch_audio_async(url)


def test_encoded_size_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is too large is rejected before it is decoded, even as base64."""
    monkeypatch.setenv("VLLM_MAX_AUDIO_CLIP_FILESIZE_MB", "1")
    data = wav(tone(30.0))
    media = RecordingIO(PluginSettings(engine_audio_seconds=100))
    with pytest.raises(ValueError, match="expected at most 1 MiB"):
        media.load_bytes(data)
    with pytest.raises(ValueError, match="expected at most 1 MiB"):
        media.load_base64("audio/wav", base64.b64encode(data).decode())
