"""Writes `samples/`: recordings, each with its transcript in a `.json` file.

The voices are not in the embedded checkpoint's training data. It does not transcribe every
recording correctly, so seeds are tried until an engine that serves it does. eSpeak NG's noise has
no seed, so another run writes slightly different recordings.
"""

import argparse
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import soundfile

from training.tiny_asr.espeak import Synthesizer
from training.tiny_asr.evaluate import ask, segments
from training.tiny_asr.recordings import Composer, Recording
from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.speakers import label

SAMPLES = {
    "one-speaker": (8.0, 1, 2),
    "two-speakers": (9.0, 2, 3),
    "three-speakers": (8.0, 3, 3),
}
"""Name → approximate seconds, speakers, and minimum number of segments."""
TOLERANCE = 0.2
"""Tolerance in seconds for a start or end; less than that of `make demo`."""


def wav(recording: Recording) -> bytes:
    data = io.BytesIO()
    samples = recording.samples * (0.7 / np.abs(recording.samples).max())
    soundfile.write(data, samples, SAMPLE_RATE, "PCM_16", format="WAV")
    return data.getvalue()


def candidates(
    synthesizer: Synthesizer, seconds: float, speakers: int, least: int
) -> Iterator[tuple[int, Recording]]:
    """Endless (seed, recording) pairs with `speakers` speakers and at least `least` segments."""
    for seed in itertools.count(1):
        recording = Composer(synthesizer, seed, held_out=True).recording(seconds, speakers, True)
        if len(recording.voices) == speakers and len(recording.segments) >= least:
            yield seed, recording


def is_right(recording: Recording, found: list[dict]) -> bool:
    """Whether words, speakers, and times match the recording."""
    return len(found) == len(recording.segments) and all(
        got["text"] == want.text
        and got["speaker"] == want.speaker
        and abs(got["start"] - want.start) <= TOLERANCE
        and abs(got["end"] - want.end) <= TOLERANCE
        for want, got in zip(recording.segments, found, strict=True)
    )


def write(folder: Path, name: str, recording: Recording, data: bytes) -> None:
    """Write the recording and its transcript."""
    (folder / f"{name}.wav").write_bytes(data)
    written = [
        {
            "start": round(s.start, 2),
            "end": round(s.end, 2),
            "speaker": label(s.speaker),
            "text": s.text,
        }
        for s in recording.segments
    ]
    truth = {"duration": round(recording.duration, 2), "segments": written}
    (folder / f"{name}.json").write_text(json.dumps(truth, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8006/v1/")
    parser.add_argument("--served-model-name", default="vibevoice")
    parser.add_argument("--out", type=Path, default=Path("samples"))
    args = parser.parse_args()
    synthesizer = Synthesizer()
    with httpx2.Client(base_url=args.url) as client:
        for name, (seconds, speakers, least) in SAMPLES.items():
            for seed, recording in candidates(synthesizer, seconds, speakers, least):
                data = wav(recording)
                answer = ask(client, args.served_model_name, data, recording.duration)
                if is_right(recording, segments(answer)):
                    write(args.out, name, recording, data)
                    print(f"{name}: seed {seed}, {recording.duration:.1f} s")
                    break


if __name__ == "__main__":
    main()
