"""What the pinned penalties do to a long transcript, and what vLLM's plain ones would do.

    python -m bench.penalties --recordings 3

Recordings of 60 segments or more are decoded in three ways: with ours (on the words of the segment
being written), without any, and with vLLM's own `frequency_penalty` 0.5 and `repetition_penalty`
1.1, which count the JSON scaffold as well.
"""

import argparse
import json
import tempfile
from pathlib import Path

import httpx2
from tests.support.engine import TINY, start_engine
from training.tiny_asr.espeak import Synthesizer
from training.tiny_asr.evaluate import Score, ask, flac, segments
from training.tiny_asr.recordings import Composer, Recording

PLAIN = {"frequency_penalty": 0.5, "repetition_penalty": 1.1}


def long_recording(least: int, seed: int) -> Recording:
    """Two held-out speakers, at least so many segments of a word or two (the embedded checkpoint
    loses its place in recordings of minutes), no noise."""
    composer = Composer(Synthesizer(), seed, held_out=True)
    seconds = least * 1.2
    while True:
        recording = composer.recording(seconds, 2, clean=True, most_words=2)
        if len(recording.segments) >= least:
            return recording
        seconds += 5


def whole(answer: str) -> bool:
    """Whether the answer is JSON from its first bracket to its last."""
    try:
        json.loads(answer)
    except ValueError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description="What the pinned penalties do.")
    parser.add_argument("--segments", type=int, default=60)
    parser.add_argument("--recordings", type=int, default=3)
    args = parser.parse_args()
    recordings = [long_recording(args.segments, 900 + n) for n in range(args.recordings)]
    for name, pinned, extra in (
        ("ours", True, {}),
        ("no penalties", False, {}),
        ("vLLM's own", False, PLAIN),
    ):
        with (
            tempfile.NamedTemporaryFile(suffix=".log") as log,
            start_engine(TINY, Path(log.name), pinned=pinned) as url,
            httpx2.Client(base_url=f"{url}/v1/") as client,
        ):
            for recording in recordings:
                answer = ask(client, "vibevoice", flac(recording), recording.duration, **extra)
                score = Score()
                score.add(recording, heard := segments(answer))
                print(
                    f"{name}: {recording.duration:.0f} s, {len(heard)} segments readable of "
                    f"{len(recording.segments)}, JSON {'whole' if whole(answer) else 'broken'}; "
                    f"{score}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
