"""The audio of utterances when turn detection changes."""

import pytest

from vibevoice_light import Detection, Utterances
from vibevoice_light.utterances import FRAME_SECONDS, Span


def hear(utterances: Utterances, seconds: float, probability: float) -> None:
    for _ in range(round(seconds / FRAME_SECONDS)):
        utterances.step(probability)


def commit(utterances: Utterances) -> Span:
    ended = utterances.commit().ended
    assert ended is not None
    return ended


def test_silence_before_the_client_decides_is_in_no_utterance() -> None:
    """Only the padding before the switch is included, since it could have started an utterance."""
    utterances = Utterances(Detection(prefix_seconds=0.3))
    hear(utterances, 100.0, 0.0)
    utterances.detect(None)
    hear(utterances, 2.0, 0.9)
    assert commit(utterances) == pytest.approx((99.7, 102.0), abs=0.05)
    hear(utterances, 3.0, 0.0)
    assert commit(utterances) == pytest.approx((102.0, 105.0), abs=0.05)


def test_a_commit_in_silence() -> None:
    """The utterance contains the buffered audio; earlier audio was dropped."""
    utterances = Utterances(Detection(prefix_seconds=0.3))
    hear(utterances, 100.0, 0.0)
    assert commit(utterances) == pytest.approx((99.7, 100.0), abs=0.05)


def test_a_commit_in_speech_that_is_too_short_yet() -> None:
    utterances = Utterances(Detection(prefix_seconds=0.3))
    hear(utterances, 100.0, 0.0)
    hear(utterances, 0.1, 0.9)
    assert commit(utterances) == pytest.approx((99.7, 100.1), abs=0.05)


def test_a_longer_padding_does_not_reach_back() -> None:
    """Audio beyond the previous padding was already dropped."""
    utterances = Utterances(Detection(prefix_seconds=0.3))
    hear(utterances, 100.0, 0.0)
    utterances.detect(Detection(prefix_seconds=5.0))
    hear(utterances, 1.0, 0.0)
    hear(utterances, 1.0, 0.9)
    assert utterances.start == pytest.approx(99.7, abs=0.05)
