"""Transcribes recordings with many clients at once, for several benchmarks."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
from training.tiny_asr.evaluate import Score, flac
from training.tiny_asr.recordings import Recording


def ask(url: str, recording: Recording, timeout: float = 600) -> httpx2.Response:
    """The diarized_json response of the proxy at `url`, within `timeout` seconds."""
    answer = httpx2.post(
        f"{url}/v1/audio/transcriptions",
        files={"file": flac(recording)},
        data={"response_format": "diarized_json"},
        timeout=timeout,
    )
    answer.raise_for_status()
    return answer


def transcribe(url: str, recording: Recording) -> list[dict]:
    """The segments that the proxy at `url` recognizes."""
    return ask(url, recording).json()["segments"]


def measure(url: str, clips: list[Recording], clients: int) -> tuple[float, Score]:
    """Seconds that `clients` clients take to transcribe all clips, and the score."""
    with ThreadPoolExecutor(clients) as threads:
        started = time.monotonic()
        answers = list(threads.map(lambda clip: transcribe(url, clip), clips))
        seconds = time.monotonic() - started
    score = Score()
    for clip, segments in zip(clips, answers, strict=True):
        score.add(clip, segments)
    return seconds, score
