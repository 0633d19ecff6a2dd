"""Measures how well a served checkpoint transcribes speech that it was not trained on.

All clips use held-out voices, a third of them with held-out accents. Word error rate, boundaries
within 0.3 s, and correct speakers are counted for each kind of recording. `--reference` also runs
transformers' own `generate` on the same clips and compares the texts character by character.
"""

import argparse
import base64
import contextlib
import io
import itertools
import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
import jiwer
import numpy as np
import soundfile

from training.tiny_asr.espeak import Synthesizer
from training.tiny_asr.recordings import Composer, Recording, Segment
from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.prompt import SYSTEM, user_text

KINDS = {
    "1 speaker, 1-8 words": ((0.1, 0.2), 1),
    "1 speaker, 5-20 s": ((5.0, 20.0), 1),
    "2 speakers, 4-8 s": ((4.0, 8.0), 2),
    "2 speakers, 8-30 s": ((8.0, 30.0), 2),
    "3 speakers, 15-40 s": ((15.0, 40.0), 3),
    "2 speakers, 60-90 s": ((60.0, 90.0), 2),
    "2 speakers, 150-180 s": ((150.0, 180.0), 2),
}
TOLERANCE = 0.3
"""Tolerance in seconds for the start and end of a segment."""


def clips(kind: str, count: int, seed: int = 4242, clean: bool = False) -> list[Recording]:
    """`count` recordings of a kind, the same ones for each seed; `clean` ones have no noise or
    echo."""
    seconds, speakers = KINDS[kind]
    composer = Composer(Synthesizer(), seed, held_out=True)
    rng = np.random.default_rng(seed)
    return [composer.recording(float(rng.uniform(*seconds)), speakers, clean) for _ in range(count)]


def flac(recording: Recording) -> bytes:
    """16-bit FLAC with 3 dB of headroom."""
    peak = np.abs(recording.samples).max() + 1e-9
    data = io.BytesIO()
    soundfile.write(data, recording.samples * (0.7 / peak), SAMPLE_RATE, "PCM_16", format="FLAC")
    return data.getvalue()


def ask(client: httpx2.Client, model: str, audio: bytes, seconds: float, **sampling: float) -> str:
    """The model's answer for one recording, from a chat completion with a data URL."""
    url = "data:audio/flac;base64," + base64.b64encode(audio).decode()
    content = [
        {"type": "audio_url", "audio_url": {"url": url}},
        {"type": "text", "text": user_text(seconds)},
    ]
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}]
    body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 16384, **sampling}
    answer = client.post("chat/completions", json=body, timeout=3600)
    answer.raise_for_status()
    return answer.json()["choices"][0]["message"]["content"]


@dataclass
class Score:
    errors: int = 0
    words: int = 0
    near: int = 0
    boundaries: int = 0
    speakers: int = 0
    segments: int = 0
    exact: int = 0
    clips: int = 0

    def add(self, truth: Recording, found: list[dict]) -> None:
        """Count one transcript: segments with start, end (seconds), speaker, and text."""
        said = " ".join(s.text for s in truth.segments)
        wrote = " ".join(s["text"] for s in found)
        output = jiwer.process_words(said, wrote or "-")
        self.errors += output.substitutions + output.deletions + output.insertions
        self.words += len(said.split())
        self.exact += said == wrote
        self.clips += 1
        pairs = [(s, max(found, key=partial(_overlap, s), default=None)) for s in truth.segments]
        for segment, match in pairs:
            self.segments += 1
            self.boundaries += 2
            if match:
                self.near += abs(match["start"] - segment.start) <= TOLERANCE
                self.near += abs(match["end"] - segment.end) <= TOLERANCE
        # speakers are numbered by appearance; use the assignment that fits best
        labels = [*{s["speaker"] for s in found}, None, None, None]
        together = Counter((s.speaker, match["speaker"]) for s, match in pairs if match)
        self.speakers += max(
            sum(together[pair] for pair in enumerate(names))
            for names in itertools.permutations(labels, 3)
        )

    def __str__(self) -> str:
        return (
            f"{self.clips} clips, WER {self.errors / self.words:.1%} of {self.words} words, "
            f"{self.exact} exact, boundaries {self.near / self.boundaries:.1%}, "
            f"speakers {self.speakers / self.segments:.1%} of {self.segments} segments"
        )


def _overlap(segment: Segment, found: dict) -> float:
    return min(segment.end, found["end"]) - max(segment.start, found["start"])


def segments(answer: str) -> list[dict]:
    """The valid segments in a model's answer."""
    found = []
    for item in re.findall(r"\{[^{}]*\}", answer):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            fields = json.loads(item)
            start, end = float(fields["Start"]), float(fields["End"])
            text, speaker = str(fields["Content"]), fields["Speaker"]
            found.append({"start": start, "end": end, "speaker": speaker, "text": text})
    return found


def reference(folder: Path, recordings: list[Recording], dtype: str) -> list[str]:
    """The output of transformers' `generate` for the same clips, one at a time."""
    import torch
    from transformers import AutoProcessor, VibeVoiceAsrForConditionalGeneration

    processor = AutoProcessor.from_pretrained(folder)
    model = VibeVoiceAsrForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval()
    answers = []
    for recording in recordings:
        audio, _ = soundfile.read(io.BytesIO(flac(recording)), dtype="float32")
        inputs = processor.apply_transcription_request(audio)
        with torch.inference_mode():
            # transformers' own annotation of `self` does not fit its classes
            tokens = model.generate(**inputs, do_sample=False, max_new_tokens=16384)  # pyright: ignore[reportAttributeAccessIssue]
        new = tokens[0, inputs["input_ids"].shape[1] :]
        answers.append(processor.tokenizer.decode(new, skip_special_tokens=True))
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8006/v1/")
    parser.add_argument("--served-model-name", default="vibevoice")
    parser.add_argument("--clips", type=int, default=50, help="recordings of each kind")
    parser.add_argument("--clean", action="store_true", help="without noise, echo, or lost bands")
    parser.add_argument("--kinds", type=int, nargs="*", default=range(len(KINDS)))
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument(
        "--reference", type=Path, help="checkpoint to run with transformers as well"
    )
    parser.add_argument("--dtype", default="float32", help="dtype of the reference")
    args = parser.parse_args()
    with (
        httpx2.Client(base_url=args.url) as client,
        ThreadPoolExecutor(args.concurrency) as threads,
    ):
        for kind in [list(KINDS)[k] for k in args.kinds]:
            recordings = clips(kind, args.clips, clean=args.clean)
            answers = list(
                threads.map(
                    lambda r: ask(client, args.served_model_name, flac(r), r.duration), recordings
                )
            )
            score = Score()
            for recording, answer in zip(recordings, answers, strict=True):
                score.add(recording, segments(answer))
            print(f"{kind}: {score}", flush=True)
            if args.reference:
                expected = reference(args.reference, recordings, args.dtype)
                same = sum(a.strip() == e.strip() for a, e in zip(answers, expected, strict=True))
                print(f"{kind}: same text as transformers on {same} of {len(answers)}", flush=True)


if __name__ == "__main__":
    main()
