"""Builds `samples/conversation.flac` and its reference transcript from recordings of two people.

    python -m scripts.make_conversation

Installs Debian's asterisk-core-sounds-en, its -g722 variant, and pocketsphinx-testdata, so it must
run as root. Their licenses are in samples/README.md.
"""

import json
from pathlib import Path

import numpy as np
import soundfile
from tests.support.real_voices import RATE, Samples, conversation, librivox, prompts

FOLDER = Path(__file__).parents[1] / "samples"
TURNS = (
    (
        "A",
        "followme/status",
        "The person you are calling is not at their desk. I will try to locate them for you.",
    ),
    ("B", "0880", "He was not an ill-disposed young man."),
    (
        "A",
        "queue-periodic-announce",
        "All of our representatives are currently busy. Please stay on the line, and your "
        "call will be answered by the next available representative.",
    ),
    (
        "B",
        "0920",
        "Had he married a more amiable woman, he might have been made still more "
        "respectable than he was.",
    ),
    (
        "A",
        "ss-noservice",
        "The number you have dialed is not in service. Please check the number and try again.",
    ),
    (
        "B",
        "0870",
        "And Mr. John Dashwood had then leisure to consider how much there might be "
        "prudently in his power to do for them.",
    ),
)
"""Speaker, recording, and words of each turn."""
QUIET = 10**-2
"""Relative to the energy of the loudest 20 ms, -20 dB: anything quieter is breath or noise."""


def voiced(samples: Samples, start: float, end: float) -> tuple[float, float]:
    """Start and end of a turn in seconds, without breath."""
    hop = RATE // 50
    turn = samples[round(start * RATE) : round(end * RATE)]
    energy = np.square(turn[: len(turn) // hop * hop]).reshape(-1, hop).mean(axis=1)
    loud = np.flatnonzero(energy > QUIET * energy.max())
    return round(start + loud[0] / 50, 2), round(start + (loud[-1] + 1) / 50, 2)


def main() -> None:
    recordings = {prompt.name: prompt for prompt in prompts()}
    recordings |= {sentence.name[-4:]: sentence for sentence in librivox()}
    samples, spoken = conversation([(speaker, recordings[name]) for speaker, name, _ in TURNS])
    segments = []
    for turn, (speaker, _, text) in zip(spoken, TURNS, strict=True):
        start, end = voiced(samples, turn.start, turn.end)
        segments.append({"start": start, "end": end, "speaker": speaker, "text": text})
    truth = {
        "duration": round(len(samples) / RATE, 2),
        "model": "whisper-1",
        "segments": segments,
    }
    soundfile.write(FOLDER / "conversation.flac", samples, RATE)
    (FOLDER / "conversation.json").write_text(json.dumps(truth, indent=2) + "\n")


if __name__ == "__main__":
    main()
