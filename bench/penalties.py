"""Shows the effect of the pinned penalties on a long transcript, compared with vLLM's plain ones.

    python -m bench.penalties --recordings 3

Recordings of 60 segments or more are decoded with our penalties (on the words of the segment being
written), without any, and with vLLM's own `frequency_penalty` 0.5 and `repetition_penalty` 1.1,
which also count the JSON scaffold.
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
    """Two held-out speakers, at least `least` segments of a word or two (the embedded checkpoint
    loses track in recordings of minutes), no noise."""
    composer = Composer(Synthesizer(), seed, held_out=True)
    seconds = least * 1.2
    while True:
        recording = composer.recording(seconds, 2, clean=True, most_words=2)
        if len(recording.segments) >= least:
            return recording
        seconds += 5


def whole(answer: str) -> bool:
    """Whether the answer is valid JSON from its first bracket to its last."""
    try:
        json.loads(answer)
    except ValueError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description="Show the effect of the pinned penalties.")
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
