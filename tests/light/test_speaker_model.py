"""The speaker model in the repository equals the original and distinguishes speakers."""

import json

import numpy as np
import pytest
import soundfile
import soxr
from scripts.stack import ROOT
from tests.support.real_voices import RATE, Samples, leveled, librivox, prompts, trimmed

from vibevoice_light.embeddings import SpeakerEmbedder
from vibevoice_light.filterbanks import filterbanks
from vibevoice_light.models import SPEAKER_MODEL, VOICE_ACTIVITY_MODEL, ModelFile
from vibevoice_light.sessions import open_session

RECORDED: dict[str, list[float]] = json.loads(
    (ROOT / "tests" / "data" / "speaker-embeddings.json").read_text()
)
"""Computed by the original in torch with scripts/convert_speaker_model.py."""


@pytest.mark.parametrize("file", [VOICE_ACTIVITY_MODEL, SPEAKER_MODEL], ids=["voice", "speaker"])
def test_files_are_those_that_are_named(file: ModelFile) -> None:
    assert file.check() is None
    assert file.path.stat().st_size == file.size


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_the_converted_model_equals_the_original(name: str) -> None:
    """The vector of a whole sample equals that of the original up to float16 rounding."""
    samples, rate = soundfile.read(ROOT / "samples" / name, dtype="float32")
    banks = filterbanks(soxr.resample(samples, rate, RATE))
    banks = (banks - banks.mean(axis=0))[None]
    weights = np.ones((1, -(-banks.shape[1] // 2)), np.float32)
    session = open_session(SPEAKER_MODEL.path)
    [[vector]] = session.run(None, {"filterbanks": banks, "weights": weights})
    original = np.array(RECORDED[name])
    assert vector @ original / np.linalg.norm(vector) > 0.9999


def test_windows_of_one_voice_are_alike() -> None:
    """For vectors of 1.5 s from two real women, a threshold of 0.35 classifies at least 95 % of the
    pairs correctly."""
    embedder = SpeakerEmbedder(open_session(SPEAKER_MODEL.path))

    def vectors(recordings: list[Samples]) -> np.ndarray:
        clips = [part[: round(1.5 * RATE)] for part in recordings]
        return np.stack([embedder.embed(clip)[0].vector for clip in clips])

    long = [leveled(trimmed(one.samples)) for one in prompts() if 3 < one.seconds < 6][:12]
    first = vectors(long)
    read_aloud = [leveled(trimmed(one.samples)) for one in librivox()]
    second = vectors(
        [part[at:] for part in read_aloud for at in (0, RATE) if len(part) > 2.5 * RATE]
    )
    alike = [(part @ part.T)[np.triu_indices(len(part), 1)] > 0.35 for part in (first, second)]
    apart = (first @ second.T).ravel() < 0.35
    assert np.concatenate([*alike, apart]).mean() > 0.95


def test_windows_cover_the_speech() -> None:
    """Windows start and end with the speech and overlap; short speech has one window, a click
    none."""
    embedder = SpeakerEmbedder(open_session(SPEAKER_MODEL.path))
    noise = np.random.default_rng(0).normal(0, 0.1, 5 * RATE).astype(np.float32)
    windows = embedder.embed(noise)
    assert windows[0].start == 0 and abs(windows[-1].end - 5) < 0.05
    steps = np.diff([window.start for window in windows])
    assert steps.max() <= 0.52 and steps.min() > 0.3
    assert len(embedder.embed(noise[: RATE // 2])) == 1
    assert embedder.embed(noise[:500]) == []
