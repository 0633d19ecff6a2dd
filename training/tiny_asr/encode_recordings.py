"""Stage 3: encodes recordings with the frozen encoders of a phase, and writes them to a pool."""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from transformers import Qwen2Tokenizer

from training.tiny_asr.espeak import Synthesizer, Voice
from training.tiny_asr.model import encode, make_config, make_model
from training.tiny_asr.pool import EncodedRecording, saved
from training.tiny_asr.pretrain_encoders import normalize
from training.tiny_asr.recordings import MOST_WORDS, Composer, Recording
from vibevoice_core.audio import SAMPLE_RATE, TOKEN_SAMPLES


@torch.no_grad()
def encoded(model, recording: Recording) -> EncodedRecording:
    """Encode a recording with the encoders of `model`, in bfloat16."""
    samples = normalize(recording.samples)
    frames = -(-len(samples) // TOKEN_SAMPLES)
    audio = np.pad(samples, (0, frames * TOKEN_SAMPLES - len(samples))).astype(np.float32)
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = encode(model, torch.from_numpy(audio)[None]).embeddings[0]
    return EncodedRecording(embeddings.half(), recording.segments)


def hiss(rng: np.random.Generator) -> Recording:
    """Up to ten seconds of noise without speech."""
    samples = rng.standard_normal(int(rng.uniform(0.5, 10) * SAMPLE_RATE)) * 10 ** rng.uniform(
        -4, -1.5
    )
    return Recording(samples.astype(np.float32), (), ())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/tiny-asr"))
    parser.add_argument("--after", default="joint", help="phase that provides the encoders")
    parser.add_argument("--count", type=int, default=1000, help="recordings")
    parser.add_argument("--seconds", type=float, nargs=2, default=(40, 240))
    parser.add_argument("--most-words", type=int, default=MOST_WORDS, help="per segment")
    parser.add_argument("--file", type=int, default=20, help="recordings per file")
    parser.add_argument("--seed", type=int, default=900_000)
    parser.add_argument("--held-out", action="store_true")
    args = parser.parse_args()
    tokenizer = Qwen2Tokenizer.from_pretrained(args.run / "tokenizer")
    model = make_model(make_config(tokenizer))
    model.load_state_dict(torch.load(args.run / f"{args.after}.pt", weights_only=True)["model"])
    folder = args.run / ("pool-held-out" if args.held_out else "pool")
    folder.mkdir(exist_ok=True)
    synthesizer, known = Synthesizer(), list[Voice]()
    started = time.monotonic()
    for number in range(-(-args.count // args.file)):
        file = folder / f"{args.seed + number}.pt"
        if file.exists():
            continue
        kept: list[EncodedRecording] = []
        for index in range(args.file):
            seed = args.seed + number * args.file + index
            rng = np.random.default_rng(seed)
            composer = Composer(synthesizer, seed, args.held_out, None if args.held_out else known)
            seconds = float(np.exp(rng.uniform(*np.log(args.seconds))))
            speakers = int(rng.choice([1, 2, 3], p=[0.2, 0.5, 0.3]))
            recording = composer.recording(seconds, speakers, most_words=args.most_words)
            kept.append(encoded(model, hiss(rng) if index % 20 == 19 else recording))
        saved(kept, file)
        length = sum(len(h.embeddings) for h in kept) * TOKEN_SAMPLES / SAMPLE_RATE
        print(f"{file.name}: {length:.0f} s, after {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
