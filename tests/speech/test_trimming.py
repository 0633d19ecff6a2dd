"""The ends of passages of speech."""

import numpy as np
import pytest

from vibevoice_tts.trimming import FADE_SECONDS, HEAD_SECONDS, TAIL_SECONDS, PassageAudio

RATE = 24_000


def tone(seconds: float) -> np.ndarray:
    return (0.5 * np.sin(np.arange(round(seconds * RATE)) * 0.05)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def trimmed(audio: np.ndarray, chunk: int) -> np.ndarray:
    """The trimmed audio if `audio` arrives in chunks of the given size."""
    passage = PassageAudio(RATE)
    parts = [passage.feed(audio[at : at + chunk]) for at in range(0, len(audio), chunk)]
    return np.concatenate([*parts, passage.finish()])


@pytest.mark.parametrize("chunk", [50, 3200, 10**6])
@pytest.mark.parametrize("head", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("tail", [0.0, 0.1, 1.0])
def test_ends_of_a_passage_are_equal(head: float, tail: float, chunk: int) -> None:
    """The silence kept is always the same, for any amount of silence and any chunk size."""
    spoken = np.concatenate([silence(head), tone(1), silence(0.5), tone(1), silence(tail)])
    result = trimmed(spoken, chunk)
    expected = min(head, HEAD_SECONDS) + 2.5 + TAIL_SECONDS
    assert len(result) / RATE == pytest.approx(expected, abs=0.006)


def test_middle_of_a_passage_is_untouched() -> None:
    """Between the fades, every sample is unchanged, including pauses."""
    spoken = np.concatenate([tone(1), silence(0.5), tone(1)])
    result = trimmed(spoken, 3200)
    fade = round(FADE_SECONDS * RATE)
    assert np.array_equal(result[fade : len(spoken) - fade], spoken[fade:-fade])


def test_passage_begins_and_ends_without_a_click() -> None:
    """Even if the speech is cut abruptly at both ends, adjacent samples are close."""
    spoken = np.full(RATE, 0.5, np.float32)
    result = np.concatenate([[0.0], trimmed(spoken, 3200), [0.0]])
    assert np.abs(np.diff(result)).max() < 0.01


def test_silence_is_held_back() -> None:
    """As long as a passage is silent, nothing is sent."""
    passage = PassageAudio(RATE)
    assert len(passage.feed(silence(2))) == 0
    assert (passage.heard, passage.pending) == (False, 2 * RATE)
