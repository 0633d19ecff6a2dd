"""Stage 2: trains end to end on short recordings, so that encoders and language model fit together.

Uses the text loss and the frame labels of the other stages, on recordings of a few seconds. The
encoders are frozen for the first steps, while the language model is still untrained.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import Qwen2Tokenizer

from training.tiny_asr import checkpoints
from training.tiny_asr.espeak import Synthesizer, Voice
from training.tiny_asr.examples import Example, text_of
from training.tiny_asr.losses import TextHeads, forward, total
from training.tiny_asr.model import encode, make_config, make_model
from training.tiny_asr.pretrain_encoders import (
    CHANNELS,
    LEVELING,
    FrameHeads,
    frame_labels,
    normalize,
)
from training.tiny_asr.recordings import Composer, Recording
from vibevoice_core.audio import TOKEN_SAMPLES

GROUP = 4
"""Recordings encoded at once: few, to limit padding and keep the data in the cache."""
MOST_SECONDS = 180
"""Maximum length of a recording in seconds."""


@dataclass(frozen=True)
class Batch:
    audio: list[torch.Tensor]
    """Groups of recordings of about the same length: (rows, samples), zero-padded."""
    labels: dict[str, torch.Tensor]
    """`frame_labels` of all audio tokens of all recordings, concatenated."""
    texts: list[Example]

    def encoded(self, model) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
        """Each recording's embeddings (audio tokens, hidden), the sounds of all, concatenated, and
        the encoders' unevenness."""
        groups = [encode(model, audio) for audio in self.audio]
        lengths = [text.audio_tokens for text in self.texts]
        rows = [row for group in groups for row in group.embeddings]
        sounds = [row for group in groups for row in group.sounds]
        return (
            [row[:n] for row, n in zip(rows, lengths, strict=True)],
            torch.cat([row[:n] for row, n in zip(sounds, lengths, strict=True)]),
            torch.stack([group.unevenness for group in groups]).mean(),
        )


def batch(composer: Composer, tokenizer, rng: np.random.Generator, rows: int, longest: float):
    """`rows` recordings of up to slightly more than `longest` seconds."""
    recordings: list[Recording] = []
    while len(recordings) < rows:
        recording = composer.recording(rng.uniform(0.1, 1) * longest, int(rng.integers(1, 4)))
        if recording.duration < longest + 2:
            recordings.append(recording)
    recordings.sort(key=lambda r: r.duration)
    frames = [-(-len(r.samples) // TOKEN_SAMPLES) for r in recordings]
    groups = []
    for first in range(0, rows, GROUP):
        group = recordings[first : first + GROUP]
        audio = np.zeros(
            (len(group), max(frames[first : first + GROUP]) * TOKEN_SAMPLES), np.float32
        )
        for row, recording in enumerate(group):
            audio[row, : len(recording.samples)] = normalize(recording.samples)
        groups.append(torch.from_numpy(audio))
    labels = [frame_labels(r, n) for r, n in zip(recordings, frames, strict=True)]
    joined = {k: torch.from_numpy(np.concatenate([item[k] for item in labels])) for k in labels[0]}
    texts = [text_of(tokenizer, r, n, rng) for r, n in zip(recordings, frames, strict=True)]
    return Batch(groups, joined, texts)


class Batches(Dataset):
    """Training batches by step, generated in a separate process."""

    LONGER = (5, 12, 30)

    def __init__(self, tokenizer: Path, seed: int, rows: int, longest: float) -> None:
        self._tokenizer = Qwen2Tokenizer.from_pretrained(tokenizer)
        self._seed, self._rows, self._longest = seed, rows, longest
        self._synthesizer: Synthesizer | None = None
        self._voices: list[Voice] = []

    def __getitem__(self, step: int) -> Batch:
        self._synthesizer = self._synthesizer or Synthesizer()
        composer = Composer(self._synthesizer, self._seed + step, known=self._voices)
        rng = np.random.default_rng(step)
        # every fourth batch has fewer but proportionally longer recordings, some of minutes
        times = int(rng.choice(self.LONGER, p=(0.7, 0.2, 0.1))) if step % 4 == 3 else 1
        rows = max(1, self._rows // times)
        longest = min(self._longest * times, max(self._longest, MOST_SECONDS))
        return batch(composer, self._tokenizer, rng, rows, longest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/tiny-asr"))
    parser.add_argument("--phase", default="joint", help="name of this phase's checkpoint")
    parser.add_argument("--after", help="phase to start from (default: stage 1)")
    parser.add_argument("--weights", type=Path, help="exported checkpoint to start from instead")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--seed", type=int, default=500_000)
    parser.add_argument("--longest", type=float, default=6.0, help="maximum seconds per recording")
    parser.add_argument("--alone", type=int, default=120, help="first steps without the encoders")
    parser.add_argument("--frozen", action="store_true", help="do not train the encoders")
    parser.add_argument("--peaks", type=float, nargs=2, default=(7e-4, 1.5e-3))
    args = parser.parse_args()
    torch.manual_seed(5)
    tokens = args.weights or args.run / "tokenizer"
    tokenizer = Qwen2Tokenizer.from_pretrained(tokens)
    model = make_model(make_config(tokenizer))
    hidden = model.lm_head.in_features
    frame_heads, heads = FrameHeads(hidden, CHANNELS), TextHeads(hidden)
    if args.weights:
        args.run.mkdir(parents=True, exist_ok=True)
        tokenizer.save_pretrained(args.run / "tokenizer")
        start = type(model).from_pretrained(args.weights, dtype=torch.float32)
        model.load_state_dict(start.state_dict())
    elif not args.after:
        state = torch.load(args.run / "encoders.pt", weights_only=True)
        model.load_state_dict(state["model"])
        frame_heads.load_state_dict(state["heads"])
    else:
        state = torch.load(args.run / f"{args.after}.pt", weights_only=True)
        model.load_state_dict(state["model"])
        if "frame_heads" in state:
            frame_heads.load_state_dict(state["frame_heads"], strict=False)
        heads.load_state_dict(state["heads"], strict=False)
    lm = [*model.model.language_model.parameters(), *model.lm_head.parameters()]
    encoders = [p for n, p in model.model.named_parameters() if not n.startswith("language_model")]
    encoder_peak, lm_peak = args.peaks
    optimizer = torch.optim.AdamW(
        [
            {
                "params": [*encoders, *frame_heads.parameters()],
                "lr": encoder_peak,
                "weight_decay": 0.01,
            },
            {"params": [*lm, *heads.parameters()], "lr": lm_peak, "weight_decay": 0.05},
        ],
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / 50, 1 - 0.9 * s / args.steps)
    )
    checkpoint = args.run / f"{args.phase}.pt"
    parts = {"model": model, "frame_heads": frame_heads, "heads": heads}
    parts |= {"optimizer": optimizer, "schedule": schedule}
    first = checkpoints.resume(checkpoint, **parts)
    rng = np.random.default_rng(3)
    unseen = Composer(Synthesizer(), 98, held_out=True)
    held_out = batch(unseen, tokenizer, rng, 48, args.longest)

    batches = DataLoader(
        Batches(tokens, args.seed, args.rows, args.longest),
        batch_size=None,
        sampler=range(first, args.steps),
        num_workers=1,
        prefetch_factor=4,
    )
    started = time.monotonic()
    for step, given in enumerate(batches, first):
        with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(not args.frozen):
            embeddings, sounds, uneven = given.encoded(model)
        frames = frame_heads.losses(torch.cat(embeddings), sounds, given.labels)
        if step < args.alone:
            embeddings = [row.detach() for row in embeddings]
        rows = [t.with_audio(e) for t, e in zip(given.texts, embeddings, strict=True)]
        text, labels, right = forward(model, heads, rows, noise=0.1)
        frame_loss = torch.stack([frame_heads.WEIGHTS[k] * v for k, v in frames.items()]).sum()
        loss = total(text, labels)
        if not args.frozen:
            loss = loss + frame_loss + LEVELING * uneven
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(encoders, 1.0)
        nn.utils.clip_grad_norm_(lm, 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            shown = {**frames, **labels, "uneven": uneven}
            pace = (time.monotonic() - started) / (step - first + 1)
            print(
                f"{args.phase} {step}/{args.steps} text {text.item():.3f} "
                f"right {right.float().mean():.3f} "
                + " ".join(f"{k} {v.item():.2f}" for k, v in shown.items())
                + f" {pace:.2f} s/step",
                flush=True,
            )
        if step % 100 == 99 or step == args.steps - 1:
            with torch.no_grad():
                embeddings, _, _ = held_out.encoded(model)
                rows = [t.with_audio(e) for t, e in zip(held_out.texts, embeddings, strict=True)]
                text, _, right = forward(model, heads, rows, 0.0)
            share = right.float().mean()
            print(f"{args.phase} {step} held-out text {text:.3f} right {share:.4f}", flush=True)
            checkpoints.save(checkpoint, step + 1, **parts)


if __name__ == "__main__":
    main()
