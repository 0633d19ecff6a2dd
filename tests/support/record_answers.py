"""Writes tests/data/answers.json, the embedded checkpoint's output for real recordings.

    python -m tests.support.record_answers

The recordings are those of `samples/` and three of 60 segments or more, synthesized as in
`bench.penalties`. Run it when the checkpoint changes.
"""

import base64
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
from bench.penalties import long_recording
from scripts.stack import ROOT
from tests.support.engine import TINY, start_engine
from training.tiny_asr.evaluate import flac

from vibevoice_core.prompt import user_text

TARGET = ROOT / "tests" / "data" / "answers.json"


def recordings() -> Iterator[tuple[str, float, bytes]]:
    """(name, seconds, file) of each recording."""
    for path in sorted((ROOT / "samples").glob("*.wav")):
        seconds = json.loads(path.with_suffix(".json").read_text())["duration"]
        yield f"samples/{path.name}", seconds, path.read_bytes()
    for seed in range(900, 903):
        recording = long_recording(60, seed)
        yield f"60 segments, seed {seed}", recording.duration, flac(recording)


def main() -> None:
    answers = {}
    with (
        tempfile.NamedTemporaryFile(suffix=".log") as log,
        start_engine(TINY, Path(log.name)) as url,
    ):
        for name, seconds, data in recordings():
            audio = "data:audio/flac;base64," + base64.b64encode(data).decode()
            content = [
                {"type": "audio_url", "audio_url": {"url": audio}},
                {"type": "text", "text": user_text(seconds)},
            ]
            body = {
                "model": "vibevoice",
                "messages": [{"role": "user", "content": content}],
                "return_token_ids": True,
            }
            answer = httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=600)
            answer.raise_for_status()
            answers[name] = answer.json()["choices"][0]["token_ids"]
    lines = [f"{json.dumps(name)}: {json.dumps(tokens)}" for name, tokens in answers.items()]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
