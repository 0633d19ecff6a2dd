"""The light recognizer with real people: words, speakers, times and audio without speech."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.real_voices import (
    RATE,
    Utterance,
    conversation,
    librivox,
    prompts,
)
from tests.support.wording import errors, words

from vibevoice_light import LightRecognizer, Segment
from vibevoice_light.models import moonshine_files
from vibevoice_light.moonshine import tokens_per_second

EVERY = 12
"""Every twelfth prompt is recognized: 46 of 552."""


def text_of(segments: list[Segment]) -> str:
    return " ".join(segment.text for segment in segments)


def two_women(pause: float) -> tuple[NDArray[np.float32], list[str], list[str]]:
    """Ten turns of two real women: the recording, the speakers and the words."""
    long = [prompt for prompt in prompts() if 3 < prompt.seconds < 7]
    turns: list[tuple[str, Utterance]] = []
    for number, sentence in enumerate(librivox()):
        turns += [("prompts", long[3 * number]), ("librivox", sentence)]
    samples, spoken = conversation(turns, pause)
    return samples, [turn.speaker for turn in spoken], [turn.text for turn in spoken]


@pytest.fixture(scope="module")
def alternating() -> tuple[NDArray[np.float32], list[str], list[str]]:
    """Half a second between two turns."""
    return two_women(0.5)


def test_words_of_real_prompts(recognizer: LightRecognizer) -> None:
    """At most 9 % of the words are wrong, mostly in one-word prompts such as "tenth"."""
    wrong = count = 0
    for prompt in prompts()[::EVERY]:
        reference = words(prompt.text)
        heard = words(text_of(recognizer.transcribe(prompt.samples)))
        wrong += errors(reference, heard)
        count += len(reference)
    assert count > 200
    assert wrong / count <= 0.09


def test_two_real_voices_alternate(
    recognizer: LightRecognizer,
    alternating: tuple[NDArray[np.float32], list[str], list[str]],
) -> None:
    """Each turn has the right speaker, the first one is 0, and the words are in order."""
    samples, speakers, texts = alternating
    segments = recognizer.transcribe(samples)
    numbers = {"prompts": 0, "librivox": 1}
    changes = [
        segment.speaker
        for before, segment in zip([None, *segments], segments, strict=False)
        if before is None or before.speaker != segment.speaker
    ]
    assert changes == [numbers[speaker] for speaker in speakers]
    reference, heard = words(" ".join(texts)), words(text_of(segments))
    assert errors(reference, heard) <= 0.1 * len(reference)


def test_a_live_recording_has_the_same_words(recognizer: LightRecognizer) -> None:
    """Fed in blocks of 0.1 s, each turn is returned in order, as soon as a pause ends it."""
    samples, _, texts = two_women(1.2)
    listener = recognizer.listen()
    segments: list[Segment] = []
    latest = 0.0
    for at in range(0, len(samples), RATE // 10):
        for segment in listener.feed(samples[at : at + RATE // 10]):
            latest = max(latest, at / RATE - segment.end)
            segments.append(segment)
    segments += listener.finish()
    assert latest < 1.5
    assert [segment.start for segment in segments] == sorted(part.start for part in segments)
    reference, heard = words(" ".join(texts)), words(text_of(segments))
    assert errors(reference, heard) <= 0.1 * len(reference)


def test_long_speech_is_cut_without_losing_words(recognizer: LightRecognizer) -> None:
    """Sentences without pauses between them become turns of at most 12 s, and no word is lost or
    doubled at the cuts."""
    sentences = [*librivox(), *librivox()]
    samples, spoken = conversation((("reader", one) for one in sentences), pause=0.05)
    segments = recognizer.transcribe(samples)
    assert {segment.speaker for segment in segments} == {0}
    assert len(segments) > 3
    assert all(segment.end - segment.start <= 12.5 for segment in segments)
    reference = words(" ".join(turn.text for turn in spoken))
    heard = words(text_of(segments))
    assert errors(reference, heard) <= 0.08 * len(reference)
    assert abs(len(heard) - len(reference)) <= 3


def noise(seconds: float) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


def chords(seconds: float) -> NDArray[np.float32]:
    """Simple music: chords of three notes with overtones, half a second each."""
    rng = np.random.default_rng(2)
    time = np.arange(RATE // 2) / RATE
    parts = []
    for _ in range(int(seconds * 2)):
        notes = 220 * 2 ** (rng.choice([0, 2, 4, 5, 7, 9, 11], 3) / 12)
        waves = [np.sin(2 * np.pi * f * k * time) / k for f in notes for k in (1, 2, 3)]
        parts.append(np.sum(waves, axis=0) * np.exp(-3 * time) * 0.1)
    return np.concatenate(parts).astype(np.float32)


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(np.zeros(20 * RATE, np.float32), id="silence"),
        pytest.param(noise(20), id="noise"),
        pytest.param(0.01 * noise(20), id="quiet-noise"),
        pytest.param(chords(20), id="music"),
        pytest.param(np.zeros(0, np.float32), id="nothing"),
        pytest.param(np.zeros(100, np.float32), id="six-milliseconds"),
    ],
)
def test_what_is_no_speech_gives_nothing(
    recognizer: LightRecognizer, samples: NDArray[np.float32]
) -> None:
    assert recognizer.transcribe(samples) == []


def test_another_language_is_unclear(recognizer: LightRecognizer) -> None:
    """Italian is not transcribed as English, but it is not silently dropped either."""
    italian = [prompt for prompt in prompts("it_IT_m_Carlo") if 3 < prompt.seconds < 6][:4]
    samples, spoken = conversation((("carlo", one) for one in italian), 1.0)
    listener = recognizer.listen(120.0)
    segments = [*listener.feed(samples), *listener.finish()]
    unclear = sum(part.end - part.start for part in segments if part.is_unclear)
    assert unclear > 0.5 * sum(turn.end - turn.start for turn in spoken)
    clear = recognizer.transcribe(samples)
    assert len(clear) < len(segments)


def test_the_token_limit_is_that_of_english_for_the_default_model(tmp_path: Path) -> None:
    """A folder with another model may be of a language whose words take more tokens."""
    for file in moonshine_files(tmp_path):
        with file.path.open("wb") as written:
            written.truncate(file.size)
    assert tokens_per_second(tmp_path) == 6.5
    (tmp_path / "tokenizer.bin").write_bytes(b"another")
    assert tokens_per_second(tmp_path) == 13.0


def test_confidence_is_real(
    recognizer: LightRecognizer,
    alternating: tuple[NDArray[np.float32], list[str], list[str]],
) -> None:
    """Clear speech has higher confidence than the same speech in noise; the tokens make up the
    text."""
    samples, *_ = alternating
    part = samples[: 8 * RATE]
    loud = np.random.default_rng(3).normal(0, 0.05, len(part)).astype(np.float32)
    clear, noisy = recognizer.transcribe(part), recognizer.transcribe(part + loud)
    assert clear and noisy
    assert -0.5 < clear[0].mean_log_probability < 0
    assert noisy[0].mean_log_probability < clear[0].mean_log_probability
    for segment in clear:
        joined = "".join(token.text for token in segment.tokens)
        assert joined.replace("</s>", "").strip() == segment.text
