"""Stage 4: trains the language model to write long transcripts, with the encoders frozen.

Recordings come from the pool filled by `encode_recordings`, which makes minutes-long ones
affordable.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import Qwen2Tokenizer

from training.tiny_asr import checkpoints
from training.tiny_asr.examples import Example, text_of
from training.tiny_asr.losses import TextHeads, forward, total
from training.tiny_asr.model import make_config, make_model
from training.tiny_asr.pool import Pool, rearranged
from vibevoice_core.audio import SAMPLE_RATE, TOKEN_SAMPLES

BATCH_SECONDS = 100
"""Seconds of audio per batch, unless a single recording is longer."""


def batch(pool: Pool, tokenizer, rng: np.random.Generator, shortest: float, longest: float):
    """Recordings of similar length, log-uniform between both limits (seconds), rearranged from the
    pool; as many as fit in `BATCH_SECONDS`."""
    seconds = float(np.exp(rng.uniform(np.log(shortest), np.log(longest))))
    rows: list[Example] = []
    while not rows or (len(rows) + 1) * seconds <= BATCH_SECONDS:
        encoded = pool.recordings[int(rng.integers(len(pool.recordings)))]
        recording, encoded = rearranged(encoded, int(seconds * SAMPLE_RATE / TOKEN_SAMPLES), rng)
        text = text_of(tokenizer, recording, len(encoded.embeddings), rng)
        rows.append(text.with_audio(encoded.embeddings))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/tiny-asr"))
    parser.add_argument("--phase", required=True, help="name of this phase's checkpoint")
    parser.add_argument("--after", default="joint", help="phase to start from")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seconds", type=float, nargs=2, default=(10, 200))
    parser.add_argument("--peak", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=10)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    tokenizer = Qwen2Tokenizer.from_pretrained(args.run / "tokenizer")
    model = make_model(make_config(tokenizer))
    heads = TextHeads(model.lm_head.in_features)
    trained = [*model.model.language_model.parameters(), *model.lm_head.parameters()]
    optimizer = torch.optim.AdamW(
        [*trained, *heads.parameters()], args.peak, (0.9, 0.98), weight_decay=0.05
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / 50, 1 - 0.97 * s / args.steps)
    )
    checkpoint = args.run / f"{args.phase}.pt"
    parts = {"model": model, "heads": heads, "optimizer": optimizer, "schedule": schedule}
    first = checkpoints.resume(checkpoint, **parts)
    if not first:
        state = torch.load(args.run / f"{args.after}.pt", weights_only=True)
        model.load_state_dict(state["model"])
        heads.load_state_dict(state["heads"], strict=False)
    pool, unseen = Pool(args.run / "pool"), Pool(args.run / "pool-held-out")
    unseen.refresh()
    rng = np.random.default_rng(3)
    held_out = [batch(unseen, tokenizer, rng, *args.seconds) for _ in range(10)]
    rng = np.random.default_rng([args.seed, first])
    started = time.monotonic()
    for step in range(first, args.steps):
        if step % 100 == 0 or step == first:
            pool.refresh()
        rows = batch(pool, tokenizer, rng, *args.seconds)
        text, labels, right = forward(model, heads, rows, noise=0.1)
        loss = total(text, labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            shown = " ".join(f"{k} {v.item():.2f}" for k, v in labels.items())
            pace = (time.monotonic() - started) / (step - first + 1)
            print(
                f"{args.phase} {step}/{args.steps} {len(rows)} x {rows[0].audio_tokens} "
                f"text {text.item():.3f} right {right.float().mean():.3f} {shown} "
                f"{pace:.2f} s/step",
                flush=True,
            )
        if step % 200 == 199 or step == args.steps - 1:
            with torch.no_grad():
                results = [forward(model, heads, rows, 0.0) for rows in held_out]
            text = float(np.mean([r[0].item() for r in results]))
            whole = float(torch.cat([r[2] for r in results]).float().mean())
            print(f"{args.phase} {step} held-out text {text:.3f} right {whole:.4f}", flush=True)
            checkpoints.save(checkpoint, step + 1, **parts)


if __name__ == "__main__":
    main()
