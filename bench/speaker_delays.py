"""Measures when the first segment of a stream is sent, with and without comparing voices, and the
memory of the process that compares them.

    python -m bench.speaker_delays

The recording has three minutes of two people. A fake engine immediately returns the reference
transcript.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic

import httpx2
import numpy as np
import psutil
from tests.support.fakes import FakeEngine, serve
from tests.support.processes import proxy_process
from tests.support.real_voices import RATE, librivox, prompts
from tests.support.recordings import wav
from tests.support.scripted import script, sections_of, upload

from bench.conversations import converse
from bench.light_accuracy import table
from bench.servers import log_file

RUNS = 9
FIELDS = {"response_format": "diarized_json", "stream": "true"}


def first_segments(
    http: httpx2.Client, audio: bytes, fields: Mapping[str, str | list[str]]
) -> tuple[float, float]:
    """Seconds to the first segment and to the end of a stream."""
    started = monotonic()
    first = 0.0
    files = {"file": ("talk", audio)}
    with http.stream(
        "POST", "/v1/audio/transcriptions", data={**FIELDS, **fields}, files=files
    ) as answer:
        for line in answer.iter_lines():
            if not first and '"transcript.text.segment"' in line:
                first = monotonic() - started
                assert json.loads(line[6:])["speaker"]
    return first, monotonic() - started


def rows() -> Iterator[Sequence[object]]:
    """A row of medians for each configuration."""
    long = [one for one in prompts() if 3 < one.seconds < 8]
    built = converse({"Ann": long, "Eve": librivox()}, 180)
    audio = upload(built.samples)
    data = base64.b64encode(wav(long[0].samples[: 5 * RATE], RATE)).decode()
    known: dict[str, str | list[str]] = {
        "known_speaker_names[]": "Ann",
        "known_speaker_references[]": f"data:audio/wav;base64,{data}",
    }
    engine = FakeEngine(split=10_000)
    with serve(engine.app()) as engine_url:
        for name, seconds, linking, fields in (
            ("one section, not compared", 3600, "false", {}),
            ("one section", 3600, "true", {}),
            ("sections of 1 min, not compared", 60, "false", {}),
            ("sections of 1 min", 60, "true", {}),
            ("one section, a known speaker", 3600, "true", known),
            ("sections of 1 min, a known speaker", 60, "true", known),
        ):
            script(engine, built.spoken, sections_of(audio, seconds))
            with (
                proxy_process(
                    log_file("speaker-delays"),
                    ASR_BASE_URL=engine_url,
                    TTS_MODEL_TYPE="off",
                    VIBEVOICE_MAX_SECTION_SECONDS=str(seconds),
                    VIBEVOICE_SPEAKER_LINKING=linking,
                ) as (process, url),
                httpx2.Client(base_url=url, timeout=60) as http,
            ):
                begun = first_segments(http, audio, fields)
                runs = [first_segments(http, audio, fields) for _ in range(RUNS)]
                first, last = np.median(runs, axis=0)
                workers = [
                    f"{child.memory_info().rss / 2**20:.0f}"
                    for child in psutil.Process(process.pid).children(recursive=True)
                    if "vibevoice_light.worker" in child.cmdline()
                ]
            yield (
                name,
                f"{begun[0]:.2f}",
                f"{first:.2f}",
                f"{last:.2f}",
                ", ".join(workers) or "none",
            )


if __name__ == "__main__":
    table(
        ("stream", "first request: first segment, s", "first segment, s", "end, s", "worker MiB"),
        rows(),
    )
