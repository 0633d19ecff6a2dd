"""Voices are found by name and read from files without running any code in them."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tests.support.tts_fixtures import LONGFORM, REALTIME

from vibevoice_tts.engines.lru import Lru
from vibevoice_tts.engines.presets import MAX_BYTES, PresetError, read_preset
from vibevoice_tts.models import MODELS, ModelCard
from vibevoice_tts.reference_audio import RecordingError, normalize, read_recording, trim
from vibevoice_tts.speech_model import UnknownVoice
from vibevoice_tts.voices import VoiceTable, voice_files

PUBLISHED = ("en-Carter_man", "en-Emma_woman", "en-Mike_man", "in-Samuel_man", "fr-Spk0_man")
TABLE = VoiceTable(PUBLISHED, MODELS[0].voice_aliases)
OPENAI = "alloy ash ballad cedar coral echo fable marin nova onyx sage shimmer verse".split()
TINY = REALTIME / "voices" / "en-Tiny_woman.pt"


@pytest.mark.parametrize(
    ("name", "voice"),
    [
        pytest.param("en-Mike_man", "en-Mike_man", id="exact"),
        pytest.param("EN-mike_MAN", "en-Mike_man", id="case"),
        pytest.param("carter", "en-Carter_man", id="part"),
        pytest.param(" Emma ", "en-Emma_woman", id="spaces"),
        pytest.param("fable", "in-Samuel_man", id="alias"),
        pytest.param("Echo", "en-Mike_man", id="alias in capitals"),
        pytest.param("onyx", "en-Emma_woman", id="alias of an absent voice"),
        pytest.param("", "en-Emma_woman", id="none"),
    ],
)
def test_names_find_their_voice(name: str, voice: str) -> None:
    """Exact names, aliases and unique parts are understood."""
    assert TABLE.find(name) == voice


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("nobody", "is unknown", id="unknown"),
        pytest.param("man", "matches several voices", id="several"),
        pytest.param("../../etc/passwd", "is unknown", id="path"),
        pytest.param("en-Mike_man.pt", "is unknown", id="file name"),
        pytest.param("en-*", "is unknown", id="pattern"),
        pytest.param("en-Mike_man\0", "is unknown", id="zero byte"),
    ],
)
def test_other_names_are_refused_with_the_list(name: str, message: str) -> None:
    """The error lists all voices."""
    with pytest.raises(UnknownVoice, match=message) as refused:
        TABLE.find(name)
    assert all(voice in str(refused.value) for voice in PUBLISHED)


@pytest.mark.parametrize("card", MODELS, ids=[card.kind for card in MODELS])
def test_openai_names_always_work(card: ModelCard) -> None:
    """All 13 names map to a voice, even if the only voice has another name."""
    assert sorted(card.voice_aliases) == OPENAI
    table = VoiceTable(("xx-Only",), card.voice_aliases)
    assert {table.find(name) for name in OPENAI} == {"xx-Only"}


def test_folder_lists_voices_alone(tmp_path: Path) -> None:
    """Other files, hidden files and folders are not voices; safetensors take precedence over
    `.pt`."""
    for name in ("b.pt", "a.pt", "a.safetensors", "c.txt", ".d.pt"):
        (tmp_path / name).touch()
    (tmp_path / "e.pt").mkdir()
    files = voice_files(tmp_path, (".safetensors", ".pt"))
    assert {name: file.name for name, file in files.items()} == {
        "a": "a.safetensors",
        "b": "b.pt",
    }
    assert voice_files(tmp_path / "absent", (".pt",)) == {}


def test_lru_forgets_what_was_not_asked_for() -> None:
    """The most recently used value stays; the other one is computed again."""
    made: list[str] = []

    def make(key: str) -> str:
        made.append(key)
        return key

    values: Lru[str] = Lru(2)
    for key in ("a", "b", "a", "c", "a", "b"):
        assert values.get(key, lambda key=key: make(key)) == key
    assert made == ["a", "b", "c", "b"]


def test_published_form_of_presets_is_read() -> None:
    """A `.pt` file as written by Microsoft's code gives every part with the right shape."""
    preset = read_preset(TINY, None)
    assert preset.language_model.shape == (2, 2, 2, 7, 8)
    assert preset.tts_language_model.shape == (3, 2, 2, 16, 8)
    assert preset.negative.shape == (3, 2, 2, 1, 8)
    assert preset.negative_condition.shape == (32,)
    assert preset.language_model.dtype == torch.bfloat16


def test_presets_are_converted_once(tmp_path: Path) -> None:
    """The second read uses the safetensors file and gives the same result."""
    first = read_preset(TINY, tmp_path / "cache")
    (converted,) = (tmp_path / "cache").iterdir()
    assert converted.suffix == ".safetensors"
    written = converted.stat().st_mtime_ns
    second = read_preset(TINY, tmp_path / "cache")
    assert converted.stat().st_mtime_ns == written
    assert torch.equal(first.tts_language_model, second.tts_language_model)
    assert torch.equal(first.negative_condition, read_preset(converted, None).negative_condition)


def test_damaged_conversion_is_made_anew(tmp_path: Path) -> None:
    """A truncated conversion is replaced."""
    read_preset(TINY, tmp_path)
    (converted,) = tmp_path.iterdir()
    converted.write_bytes(b"short")
    read_preset(TINY, tmp_path)
    assert converted.stat().st_size > 1000


def test_cache_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    """If the folder cannot be created, the preset is still read."""
    (tmp_path / "file").touch()
    assert read_preset(TINY, tmp_path / "file").negative_condition.numel() == 32


class _Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False], ids=["torch's archive", "bare pickle"])
def test_hostile_preset_is_refused_unexecuted(tmp_path: Path, zipped: bool) -> None:
    """A pickle that calls a function is rejected, and the function is not called."""
    called, file = tmp_path / "called", tmp_path / "hostile.pt"
    content = {"lm": _Hostile(called)}
    if zipped:
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps(content))
    with pytest.raises(PresetError, match=r"hostile\.pt is not a voice preset"):
        read_preset(file, None)
    assert not called.exists()
    with pytest.raises(FileNotFoundError):
        called.rmdir()


def _truncated(file: Path) -> None:
    file.write_bytes(TINY.read_bytes()[:5000])


def _empty(file: Path) -> None:
    file.touch()


def _other_archive(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "hello")


def _other_tensors(file: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, file)


def _not_numbers(file: Path) -> None:
    layers = {"key_cache": [torch.full((1, 2, 1, 8), float("nan"))]}
    layers["value_cache"] = layers["key_cache"]
    part = {"last_hidden_state": torch.zeros(1, 1, 32), "past_key_values": layers}
    torch.save({"lm": part, "tts_lm": part, "neg_tts_lm": part}, file)


@pytest.mark.parametrize(
    "write", [_truncated, _empty, _other_archive, _other_tensors, _not_numbers]
)
def test_files_that_are_no_presets_are_refused(tmp_path: Path, write) -> None:
    """The error names the file, without its path."""
    file = tmp_path / "voice.pt"
    write(file)
    with pytest.raises(PresetError, match=r"voice\.pt") as refused:
        read_preset(file, None)
    assert str(tmp_path) not in str(refused.value)


def test_huge_files_are_refused_unread(tmp_path: Path) -> None:
    """A file much larger than a preset is not loaded."""
    file = tmp_path / "voice.pt"
    with file.open("wb") as sparse:
        sparse.truncate(MAX_BYTES + 1)
    with pytest.raises(PresetError, match="too large"):
        read_preset(file, None)


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
def test_recordings_come_as_24_khz_mono(tmp_path: Path, rate: int) -> None:
    """A different rate is resampled to the same length in seconds, at the same level."""
    tone = 0.3 * np.sin(2 * np.pi * 300 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "voice.wav", tone, rate)
    samples = read_recording(tmp_path / "voice.wav")
    assert samples.dtype == np.float32
    assert abs(samples.size - 24_000) < 50
    assert np.abs(samples[1000:-1000]).max() == pytest.approx(0.3, abs=0.02)


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    """The error names the file, without its path."""
    (tmp_path / "voice.wav").write_bytes(b"RIFF????WAVE")
    with pytest.raises(RecordingError, match=r"^voice\.wav cannot be decoded$"):
        read_recording(tmp_path / "voice.wav")


def test_too_long_recording_is_refused(tmp_path: Path) -> None:
    """The error states the limit."""
    soundfile.write(tmp_path / "voice.flac", np.zeros(121 * 8000), 8000)
    with pytest.raises(RecordingError, match=r"^voice\.flac is longer than 120 s$"):
        read_recording(tmp_path / "voice.flac")


def test_silence_around_a_voice_is_cut() -> None:
    """A second of silence at each end is cut; the pause inside stays."""
    tone = np.sin(np.arange(24_000) / 10).astype(np.float32)
    silence = np.zeros(24_000, np.float32)
    assert trim(np.concatenate([silence, tone, silence, tone, silence])).size == 72_000


def test_long_voice_is_cut_in_a_pause() -> None:
    """A 20 s recording with a pause at 14 s is cut there."""
    tone = np.sin(np.arange(20 * 24_000) / 10).astype(np.float32)
    tone[14 * 24_000 : 14 * 24_000 + 480] = 0
    assert trim(tone).size == 14 * 24_000 + 480


def test_voice_is_brought_to_the_level_of_training() -> None:
    """-25 dBFS, also for a clipped or very quiet recording."""
    tone = np.sin(np.arange(24_000) / 10).astype(np.float32)
    for gain in (0.001, 1.0):
        level = 20 * np.log10(np.sqrt(np.mean(normalize(tone * np.float32(gain)) ** 2)))
        assert level == pytest.approx(-25, abs=0.1)


def test_fixture_recordings_are_read() -> None:
    """The tiny model's voices are read as they were written."""
    samples = read_recording(LONGFORM / "voices" / "en-Tiny_woman.wav")
    assert samples.size == 640
