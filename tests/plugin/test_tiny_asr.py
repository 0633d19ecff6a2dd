"""The embedded checkpoint in the real engine, with voices on which it was not trained."""

from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from training.tiny_asr.evaluate import Score, ask, clips, flac, segments

pytestmark = pytest.mark.engine


def transcribe(url: str, recordings: list) -> list[str]:
    """The engine's answers to all recordings, requested at the same time."""
    with httpx2.Client(base_url=f"{url}/v1/") as client, ThreadPoolExecutor(8) as threads:
        return list(
            threads.map(lambda r: ask(client, "vibevoice", flac(r), r.duration), recordings)
        )


@pytest.mark.parametrize(
    ("kind", "errors", "near", "speakers"),
    [
        pytest.param("1 speaker, 1-8 words", 0.12, 0.9, 0.95, id="one-segment"),
        pytest.param("2 speakers, 4-8 s", 0.12, 0.9, 0.85, id="two-speakers"),
        pytest.param("2 speakers, 8-30 s", 0.12, 0.85, 0.6, id="half-a-minute"),
    ],
)
def test_transcribes_held_out_speech(
    engine_url: str, kind: str, errors: float, near: float, speakers: float
) -> None:
    """Words, times, and speakers of unknown voices are about as accurate as measured
    (docs/background/tiny-asr.md).

    The limits are looser than the measured values: eSpeak NG's noise has no seed, so the clips
    differ in every run.
    """
    recordings = clips(kind, 24, seed=7)
    score = Score()
    for recording, answer in zip(recordings, transcribe(engine_url, recordings), strict=True):
        score.add(recording, segments(answer))
    print(score)
    assert score.errors <= errors * score.words
    assert score.near >= near * score.boundaries
    assert score.speakers >= speakers * score.segments
