"""Recordings transcribed by many clients at once, as several benches need it."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
from training.tiny_asr.evaluate import Score, flac
from training.tiny_asr.recordings import Recording


def ask(url: str, recording: Recording, timeout: float = 600) -> httpx2.Response:
    """The answer of the proxy at `url` in diarized_json, in at most `timeout` seconds."""
    answer = httpx2.post(
        f"{url}/v1/audio/transcriptions",
        files={"file": flac(recording)},
        data={"response_format": "diarized_json"},
        timeout=timeout,
    )
    answer.raise_for_status()
    return answer


def transcribe(url: str, recording: Recording) -> list[dict]:
    """The segments that the proxy at `url` hears."""
    return ask(url, recording).json()["segments"]


def measure(url: str, clips: list[Recording], clients: int) -> tuple[float, Score]:
    """Seconds in which so many clients have all clips transcribed, and how well."""
    with ThreadPoolExecutor(clients) as threads:
        started = time.monotonic()
        answers = list(threads.map(lambda clip: transcribe(url, clip), clips))
        seconds = time.monotonic() - started
    score = Score()
    for clip, segments in zip(clips, answers, strict=True):
        score.add(clip, segments)
    return seconds, score
