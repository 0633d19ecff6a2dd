"""Checks how the proxy handles loops of the real engine, and the transcript before them.

    python -m bench.loops --clips 10

Recordings of two and a half to three minutes are too long for the embedded checkpoint in one
section, so some of its answers repeat themselves. For every answer that the proxy stopped, the same
recording is sent directly to the engine: the segments before the loop must be identical.
"""

import argparse
import base64
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
from training.tiny_asr.evaluate import clips, flac
from training.tiny_asr.recordings import Recording

from bench.servers import log_file, real_engine
from bench.transcription import ask
from vibevoice_core.audio import SAMPLE_RATE as RATE
from vibevoice_proxy.transcription.chat import Attempt, chat_request
from vibevoice_proxy.transcription.model_text import TranscriptDecoder
from vibevoice_proxy.transcription.transcript import Segment

TIMEOUT = 1800
"""Seconds allowed for one answer."""
ENOUGH_TOKENS = 4096
"""Token limit; enough for the segments before a loop."""


def straight(url: str, recording: Recording) -> list[Segment]:
    """The engine's answer if nothing stops it."""
    duration = len(recording.samples) / RATE
    head, tail = chat_request("vibevoice", duration, "", "audio/flac", Attempt(ENOUGH_TOKENS))
    decoder = TranscriptDecoder(duration)
    with httpx2.Client(timeout=TIMEOUT) as client:
        body = head + base64.b64encode(flac(recording)) + tail
        headers = {"content-type": "application/json"}
        with client.sse(
            f"{url}/v1/chat/completions", method="POST", content=body, headers=headers
        ) as events:
            text = "".join(_content(event.json()) for event in events if event.data != "[DONE]")
    return [*decoder.feed(text), *decoder.finish()]


def _content(message: Any) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in message["choices"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Check how loops of the real engine are handled.")
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--log", type=Path, default=log_file("loops"))
    options = parser.parse_args()
    recordings = clips("2 speakers, 150-180 s", options.clips)
    with real_engine(options.log, VIBEVOICE_MAX_SECTION_SECONDS="3600") as (url, engine, _):
        with ThreadPoolExecutor(options.clients) as threads:
            answers = list(threads.map(lambda one: ask(url, one, TIMEOUT), recordings))
        log = options.log.read_text(errors="replace")
        for recording, answer in zip(recordings, answers, strict=True):
            request_id, transcript = answer.headers["x-request-id"], answer.json()
            heard = [(one["start"], one["end"], one["text"]) for one in transcript["segments"]]
            told = f"{len(recording.samples) / RATE:.0f} s, {len(heard)} segments"
            stopped = re.search(rf" {request_id}: stopped \(loop\) after (\d+) segments", log)
            if stopped:
                kept = int(stopped[1])
                written = straight(engine, recording)
                before = [(one.start, one.end, one.text) for one in written]
                is_intact = before[:kept] == heard[:kept]
                told += f", a loop after {kept} of them, which are "
                told += "the engine's own" if is_intact else "NOT THE ENGINE'S"
            print(told, f"truncated: {transcript.get('truncated', 'no')}", sep="; ", flush=True)
        metrics = httpx2.get(f"{url}/metrics").text
        print(*re.findall(r"^vibevoice_loops_total.*", metrics, re.MULTILINE), sep="\n")


if __name__ == "__main__":
    main()
