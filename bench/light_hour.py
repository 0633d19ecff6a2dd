"""Runs an hour of conversation through the light recognizer on one core: time and memory over time.

    python -m bench.light_hour --minutes 60
    python -m bench.light_hour --minutes 60 --live    # speakers labeled at once, blocks of 0.1 s

Another process writes the recording to a file, so the measured memory is only the recognizer's.
Times are processor seconds of this process, which other load hardly affects.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import psutil
import soundfile

from vibevoice_light import LOOKAHEAD_SECONDS, LightRecognizer, find_moonshine

RATE = 16_000
MIB = 2**20
PEOPLE = ("Allison", "Bruce", "Carlo")
BLOCK_SECONDS = 10.0
LIVE_SECONDS = 0.1


def write(file: Path, minutes: float) -> None:
    """Write a conversation of three people as 16-bit WAV."""
    from bench.conversations import converse
    from bench.voices import load_voices

    voices = load_voices()
    built = converse({name: voices[name] for name in PEOPLE}, minutes * 60)
    soundfile.write(file, built.samples[: round(minutes * 60 * RATE)].clip(-1, 1), RATE, "PCM_16")


def rows(recognizer: LightRecognizer, file: Path, live: bool) -> Iterator[Sequence[str]]:
    """Time and memory used after each tenth of the recording, and at the end."""
    process = psutil.Process()
    total = soundfile.info(file).duration
    listener = recognizer.listen(0.0 if live else LOOKAHEAD_SECONDS)
    size = round((LIVE_SECONDS if live else BLOCK_SECONDS) * RATE)
    began, wall, segments, heard, tenth = time.process_time(), time.monotonic(), 0, 0.0, 1

    def row() -> Sequence[str]:
        spent = time.process_time() - began
        resident = f"{process.memory_info().rss / MIB:.0f}"
        passed = time.monotonic() - wall
        return (
            f"{heard / 60:.1f}",
            resident,
            f"{spent / heard:.4f}",
            f"{passed:.0f}",
            f"{segments}",
        )

    for block in soundfile.blocks(file, blocksize=size, dtype="float32"):
        samples = np.asarray(block, np.float32)
        segments += sum(1 for _ in listener.feed(samples))
        heard += len(samples) / RATE
        if heard >= tenth * total / 10:
            tenth += 1
            yield row()
    segments += sum(1 for _ in listener.finish())
    yield row()


def main() -> None:
    parser = argparse.ArgumentParser(description="Run an hour through the light recognizer.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--live", action="store_true")
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "conversation.wav"
        writer = multiprocessing.get_context("spawn").Process(
            target=write, args=(file, args.minutes)
        )
        writer.start()
        writer.join()
        if writer.exitcode:
            raise SystemExit("the recording could not be built")
        recognizer = LightRecognizer.load(
            find_moonshine(os.environ.get("VIBEVOICE_LIGHT_MODELS", ""))
        )
        print(f"loaded: {psutil.Process().memory_info().rss / MIB:.0f} MiB resident\n")
        head = ("minutes heard", "resident MiB", "processor s per s of audio", "wall s", "segments")
        for row in chain((head, ["---"] * len(head)), rows(recognizer, file, args.live)):
            print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
