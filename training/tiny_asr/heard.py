"""Recordings as the frozen encoders hear them: kept, cut and put together in another order.

Encoding minutes of audio takes longer than learning from them, so each recording is encoded once
and used many times, each time as another recording: a part of it, or its parts shuffled. Cuts lie
in pauses and on audio tokens, so times shift by whole tokens.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import Qwen2Tokenizer

from training.tiny_asr import checkpoints
from training.tiny_asr.espeak import RATE, Synthesizer, Voice
from training.tiny_asr.hear import normalize
from training.tiny_asr.model import HOP, encode, make_config, make_model
from training.tiny_asr.recordings import MOST_WORDS, Composer, Recording, Segment

LEAST_PAUSE = 0.4
"""Seconds between two segments from which on a cut may lie between them: three audio tokens."""


@dataclass(frozen=True)
class Heard:
    embeddings: torch.Tensor
    """(audio tokens, hidden) float16, from the projector."""
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Part:
    """Of a recording: from audio token `first` to before `last`, with whole segments."""

    first: int
    last: int
    segments: tuple[Segment, ...]


@torch.no_grad()
def hear(model, recording: Recording) -> Heard:
    """A recording through the encoders of `model`, in bfloat16."""
    samples = normalize(recording.samples)
    frames = -(-len(samples) // HOP)
    audio = np.pad(samples, (0, frames * HOP - len(samples))).astype(np.float32)
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = encode(model, torch.from_numpy(audio)[None]).embeddings[0]
    return Heard(embeddings.half(), recording.segments)


def hiss(rng: np.random.Generator) -> Recording:
    """Up to ten seconds in which nobody says anything."""
    samples = rng.standard_normal(int(rng.uniform(0.5, 10) * RATE)) * 10 ** rng.uniform(-4, -1.5)
    return Recording(samples.astype(np.float32), (), ())


def parts(heard: Heard) -> list[Part]:
    """The recording cut in every pause that is long enough."""
    cuts, firsts = [0], [0]
    for index, (a, b) in enumerate(zip(heard.segments, heard.segments[1:], strict=False), 1):
        if b.start - a.end >= LEAST_PAUSE:
            cuts.append(round((a.end + b.start) / 2 * RATE / HOP))
            firsts.append(index)
    ends = [*cuts[1:], len(heard.embeddings)]
    lasts = [*firsts[1:], len(heard.segments)]
    return [
        Part(cut, end, heard.segments[first:last])
        for cut, end, first, last in zip(cuts, ends, firsts, lasts, strict=True)
    ]


def shifted(segment: Segment, by: float, speaker: int) -> Segment:
    """The same words `by` seconds later, from another's lips."""
    words = tuple((word, start + by, end + by) for word, start, end in segment.words)
    return Segment(segment.start + by, segment.end + by, speaker, words)


def joined(heard: Heard, chosen: list[Part], rng: np.random.Generator) -> tuple[Recording, Heard]:
    """Parts of `heard` as a recording of their own, whose samples are nothing but as many."""
    order: list[int] = []
    segments: list[Segment] = []
    position = 0
    for part in chosen:
        by = (position - part.first) * HOP / RATE
        for segment in part.segments:
            if segment.speaker not in order:
                order.append(segment.speaker)
            segments.append(shifted(segment, by, order.index(segment.speaker)))
        position += part.last - part.first
    embeddings = torch.cat([heard.embeddings[part.first : part.last] for part in chosen])
    length = position * HOP - int(rng.integers(HOP // 2))
    silence = np.broadcast_to(np.float32(0), length)
    return Recording(silence, tuple(segments), ()), Heard(embeddings, tuple(segments))


def rearranged(heard: Heard, frames: int, rng: np.random.Generator) -> tuple[Recording, Heard]:
    """About `frames` audio tokens of `heard`: a stretch of it, or stretches in any order."""
    whole = parts(heard)
    if rng.random() < 0.5:  # a stretch that starts somewhere, at the beginning more often than not
        first = 0 if rng.random() < 0.5 else int(rng.integers(len(whole)))
        stretch = whole[first:]
    else:
        stretch, size = [], int(rng.integers(1, 8))
        while sum(part.last - part.first for part in stretch) < frames:
            at = int(rng.integers(len(whole)))
            stretch += whole[at : at + size]
    lengths = np.cumsum([part.last - part.first for part in stretch])
    return joined(heard, stretch[: max(1, int(np.searchsorted(lengths, frames)))], rng)


def saved(heard: list[Heard], file: Path) -> None:
    """Written so that a reader never sees half of it."""
    items = [
        {
            "embeddings": h.embeddings,
            "segments": [
                (
                    float(s.start),
                    float(s.end),
                    s.speaker,
                    tuple((str(word), float(start), float(end)) for word, start, end in s.words),
                )
                for s in h.segments
            ],
        }
        for h in heard
    ]
    checkpoints.write(items, file)


def loaded(file: Path) -> list[Heard]:
    return [
        Heard(item["embeddings"], tuple(Segment(*s) for s in item["segments"]))
        for item in torch.load(file, weights_only=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/tiny-asr"))
    parser.add_argument("--after", default="joint", help="phase whose encoders hear")
    parser.add_argument("--count", type=int, default=1000, help="recordings")
    parser.add_argument("--seconds", type=float, nargs=2, default=(40, 240))
    parser.add_argument("--most-words", type=int, default=MOST_WORDS, help="in a segment")
    parser.add_argument("--file", type=int, default=20, help="recordings in a file")
    parser.add_argument("--seed", type=int, default=900_000)
    parser.add_argument("--held-out", action="store_true")
    args = parser.parse_args()
    tokenizer = Qwen2Tokenizer.from_pretrained(args.run / "tokenizer")
    model = make_model(make_config(tokenizer))
    model.load_state_dict(torch.load(args.run / f"{args.after}.pt", weights_only=True)["model"])
    folder = args.run / ("heard-held-out" if args.held_out else "heard")
    folder.mkdir(exist_ok=True)
    synthesizer, known = Synthesizer(), list[Voice]()
    started = time.monotonic()
    for number in range(-(-args.count // args.file)):
        file = folder / f"{args.seed + number}.pt"
        if file.exists():
            continue
        kept: list[Heard] = []
        for index in range(args.file):
            seed = args.seed + number * args.file + index
            rng = np.random.default_rng(seed)
            composer = Composer(synthesizer, seed, args.held_out, None if args.held_out else known)
            seconds = float(np.exp(rng.uniform(*np.log(args.seconds))))
            speakers = int(rng.choice([1, 2, 3], p=[0.2, 0.5, 0.3]))
            recording = composer.recording(seconds, speakers, most_words=args.most_words)
            kept.append(hear(model, hiss(rng) if index % 20 == 19 else recording))
        saved(kept, file)
        heard = sum(len(h.embeddings) for h in kept) * HOP / RATE
        print(f"{file.name}: {heard:.0f} s, {time.monotonic() - started:.0f} s gone", flush=True)


if __name__ == "__main__":
    main()
