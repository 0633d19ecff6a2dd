"""Puts load on a running stack: many clips from many clients, and one long recording alone."""

import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2

from bench.clips import clip
from bench.engine_requests import (
    Answer,
    EngineRefused,
    OutOfTime,
    ask,
    events,
    seconds_left,
    transcription,
)
from bench.gpu_results import Clips, Hour

Ask = Callable[[bytes, float, float], Answer]
"""(recording, its seconds, time at which to give up) → how it was answered."""


def to_engine(engine: str, tokens: int) -> Ask:
    """Requests answers of exactly `tokens` tokens from an engine, so that weights do not affect the
    length."""
    return lambda audio, seconds, until: ask(engine, transcription(audio, seconds, tokens), until)


def to_proxy(proxy: str) -> Ask:
    """Requests transcripts from a proxy; the model decides their length."""

    def transcribe(audio: bytes, _: float, until: float) -> Answer:
        started = time.monotonic()
        try:
            response = httpx2.post(
                f"{proxy}/v1/audio/transcriptions",
                files={"file": audio},
                data={"response_format": "diarized_json"},
                timeout=seconds_left(until),
            )
        except httpx2.TimeoutException as error:
            raise OutOfTime from error
        if response.status_code != 200:
            raise EngineRefused(f"{response.status_code} {response.text[:500]}")
        seconds = time.monotonic() - started
        usage = response.json().get("usage") or {}
        tokens, prompt = usage.get("output_tokens", 0), usage.get("input_tokens", 0)
        return Answer(seconds, seconds, tokens, prompt)

    return transcribe


def sweep(
    ask_for: Ask, setting: str, clients: int, clips: int, seconds: float, until: float, seed: int
) -> Clips:
    """Transcribe `clips` recordings of `seconds` seconds with `clients` clients.

    Args:
        seed: different for each sweep of an engine, because it caches what it has encoded.

    Raises:
        OutOfTime: time ran out before all were answered.
        EngineRefused: all were rejected.
    """
    recordings = [clip(seed * 100_000 + number, seconds) for number in range(clips)]
    refused: list[EngineRefused] = []

    def transcribe(audio: bytes) -> Answer | None:
        try:
            return ask_for(audio, seconds, until)
        except EngineRefused as error:
            refused.append(error)
            return None

    with ThreadPoolExecutor(clients) as threads:
        started = time.monotonic()
        answers = [answer for answer in threads.map(transcribe, recordings) if answer]
        wall = time.monotonic() - started
    if not answers:
        raise refused[0]
    return Clips(
        setting,
        clients,
        clips,
        seconds,
        wall,
        sum(answer.tokens for answer in answers),
        sorted(round(answer.first, 4) for answer in answers),
        1000 * statistics.median(answer.token_seconds for answer in answers),
        len(refused),
    )


def warm_up(engine: str, clients: int, seconds: float, until: float) -> None:
    """Let the engine compile what it compiles on its first requests."""
    sweep(to_engine(engine, 8), "", clients, clients, seconds, until, 99)


def hour(engine: str, setting: str, seconds: float, tokens: int, until: float) -> Hour:
    """Transcribe one recording of `seconds` seconds alone, for as long as there is time.

    Raises:
        OutOfTime: not even the first token arrived.
    """
    body = transcription(clip(77, seconds), seconds, tokens)
    first = last = 0.0
    event = b"{}"
    started = time.monotonic()
    try:
        for received in events(engine, body, until):
            event, last = received, time.monotonic() - started
            first = first or last
    except OutOfTime:
        if not first:
            raise
    message = json.loads(event)
    whole = message["choices"] == []
    return Hour(setting, seconds, first, last, message["usage"]["completion_tokens"], whole)
