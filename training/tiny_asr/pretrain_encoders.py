"""Stage 1: trains the encoders to detect which word just ended, who speaks, and whether anyone
does.

At this size, a text loss alone stays on a plateau for a long time. A loss on labels for every
frame, which synthetic speech provides, does not. The label heads are discarded afterwards.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import Qwen2Tokenizer

from training.tiny_asr import checkpoints
from training.tiny_asr.espeak import Synthesizer
from training.tiny_asr.model import SOUNDS, encode, make_config, make_model, make_tokenizer
from training.tiny_asr.recordings import VARIANTS, WORDS, Composer, Recording
from vibevoice_core.audio import SAMPLE_RATE, TOKEN_SAMPLES

SECONDS = 5
"""Length of a training crop; the encoders' receptive field is about 3 s."""
CHANNELS = 80
"""Channels of the acoustic encoder's 60 Hz stage."""
LEVELING = 0.02
"""Weight of `EncoderOutput.unevenness` in the loss."""
PITCH_BINS = 12
"""Pitch bins from 65 Hz up, 0.22 octaves each."""


PHONES = "z i@ r oU w V n t u: T i: f o@ aI v s I k E @ eI 0".split()
"""eSpeak NG's names of the phonemes of the ten words, in all accents."""
_SAME_PHONE = {"O@": "o@", "t[": "t"}
PHONE_DELAY = 0.04
"""Seconds of a phoneme that the causal encoder receives before the phoneme is labeled."""


def normalize(samples: np.ndarray) -> np.ndarray:
    """Normalize to -25 dBFS, like transformers' VibeVoiceAcousticTokenizerFeatureExtractor."""
    samples = samples * (10 ** (-25 / 20) / (np.sqrt(np.mean(samples**2)) + 1e-6))
    peak = np.abs(samples).max()
    return samples / (peak + 1e-6) if peak > 1 else samples


def frame_labels(recording: Recording, frames: int) -> dict[str, np.ndarray]:
    """Per audio token: the word that ended in it (0 = none), the speaker's variant and pitch bin
    (-100 = nobody), whether anybody speaks, and (frames, 8) the phoneme (0 = none)."""
    labels = {
        "word": np.zeros(frames, np.int64),
        "variant": np.full(frames, -100),
        "pitch": np.full(frames, -100),
        "speech": np.zeros(frames, np.int64),
        "phone": np.zeros((frames, SOUNDS), np.int64),
    }
    step = TOKEN_SAMPLES / SAMPLE_RATE / SOUNDS
    latest = -1
    for segment in recording.segments:
        voice = recording.voices[segment.speaker]
        first, last = (
            int(t * SAMPLE_RATE / TOKEN_SAMPLES) for t in (segment.start + 0.05, segment.end - 0.02)
        )
        labels["speech"][first : last + 1] = 1
        if voice.variant in VARIANTS:
            labels["variant"][first + 2 : last + 1] = VARIANTS.index(voice.variant)
        labels["pitch"][first + 2 : last + 1] = pitch_bin(voice.hertz)
        for word, _, end in segment.words:
            # One frame per word, slightly delayed so that it is after the end of the word.
            frame = max(latest + 1, int((end + 0.04) * SAMPLE_RATE / TOKEN_SAMPLES))
            if frame < frames:
                labels["word"][frame] = 1 + WORDS.index(word)
            latest = frame
        ends = [*(start for _, start in segment.phones[1:]), segment.end]
        for (name, start), end in zip(segment.phones, ends, strict=True):
            name = _SAME_PHONE.get(name, name)
            first, last = (max(0, int((t + PHONE_DELAY) / step)) for t in (start, end))
            labels["phone"].reshape(-1)[first:last] = (
                1 + PHONES.index(name) if name in PHONES else 0
            )
    return labels


def pitch_bin(hertz: float) -> int:
    return int(np.clip(np.log2(hertz / 65) / 0.22, 0, PITCH_BINS - 1))


class FrameHeads(nn.Module):
    def __init__(self, hidden: int, channels: int) -> None:
        super().__init__()
        self.phone = nn.Linear(channels, 1 + len(PHONES))
        self.word = nn.Linear(hidden, 1 + len(WORDS))
        self.variant = nn.Linear(hidden, len(VARIANTS))
        self.pitch = nn.Linear(hidden, PITCH_BINS)
        self.speech = nn.Linear(hidden, 2)

    WEIGHTS = {"word": 1.0, "variant": 0.1, "pitch": 0.3, "speech": 0.2, "phone": 0.4}

    def losses(
        self, embeddings: torch.Tensor, sounds: torch.Tensor, labels: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        inputs = {name: sounds if name == "phone" else embeddings for name in self.WEIGHTS}
        return {
            name: F.cross_entropy(getattr(self, name)(x).flatten(0, -2), labels[name].flatten())
            for name, x in inputs.items()
        }


def crops(composer: Composer, rows: int, rng: np.random.Generator):
    """`rows` recordings of `SECONDS`: audio (rows, samples) and labels (rows, frames)."""
    audio = np.zeros((rows, SECONDS * SAMPLE_RATE), np.float32)
    labels = []
    for row in range(rows):
        recording = composer.recording(SECONDS, int(rng.integers(1, 3)))
        samples = normalize(recording.samples) * 10 ** (rng.uniform(-6, 6) / 20)
        samples = samples[: SECONDS * SAMPLE_RATE]
        audio[row, : len(samples)] = samples
        labels.append(frame_labels(recording, 2000))
    frames = SECONDS * SAMPLE_RATE // TOKEN_SAMPLES + 1
    stacked = {
        k: torch.from_numpy(np.stack([item[k][:frames] for item in labels])) for k in labels[0]
    }
    padded = np.pad(audio, ((0, 0), (0, -audio.shape[1] % TOKEN_SAMPLES)))
    frames = padded.shape[1] // TOKEN_SAMPLES
    return torch.from_numpy(padded), {k: v[:, :frames] for k, v in stacked.items()}


@torch.no_grad()
def word_errors(model, heads: FrameHeads, batches) -> tuple[float, float]:
    """Rates of missed or wrong words and of extra words, within one frame of the true position."""
    wrong = extra = total = 0
    for audio, labels in batches:
        found = heads.word(encode(model, audio).embeddings).argmax(-1)
        truth = labels["word"]
        total += int((truth > 0).sum())
        near = torch.stack([found.roll(s, 1) for s in (-1, 0, 1)])
        wrong += int(((near != truth).all(0) & (truth > 0)).sum())
        extra += int((found > 0).sum()) - int((truth > 0).sum())
    return wrong / total, extra / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--peak", type=float, default=2e-3, help="learning rate after warm-up")
    parser.add_argument("--out", type=Path, default=Path("runs/tiny-asr"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    synthesizer = Synthesizer()
    if (args.out / "tokenizer").exists():
        tokenizer = Qwen2Tokenizer.from_pretrained(args.out / "tokenizer")
    else:
        tokenizer = make_tokenizer()
        tokenizer.save_pretrained(args.out / "tokenizer")
    model = make_model(make_config(tokenizer))
    heads = FrameHeads(model.lm_head.in_features, CHANNELS)
    held_out = Composer(synthesizer, 99, held_out=True)
    rng = np.random.default_rng(1)
    validation = [crops(held_out, 16, rng) for _ in range(6)]
    trained = [p for n, p in model.named_parameters() if "language_model" not in n]
    optimizer = torch.optim.AdamW([*trained, *heads.parameters()], args.peak, (0.9, 0.98))
    warmup = 100
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / warmup, 1 - 0.97 * s / args.steps)
    )
    checkpoint = args.out / "encoders.pt"
    parts = {"model": model, "heads": heads, "optimizer": optimizer, "schedule": schedule}
    first = checkpoints.resume(checkpoint, **parts)

    def batch(step: int):
        return crops(Composer(synthesizer, 1000 + step), args.rows, np.random.default_rng(step))

    ahead = ThreadPoolExecutor(1)  # one thread: eSpeak NG keeps global state
    following = ahead.submit(batch, first)
    started = time.monotonic()
    for step in range(first, args.steps):
        audio, labels = following.result()
        following = ahead.submit(batch, step + 1)
        with torch.autocast("cpu", torch.bfloat16):
            encoded = encode(model, audio)
        losses = heads.losses(encoded.embeddings, encoded.sounds, labels)
        loss = torch.stack([heads.WEIGHTS[k] * v for k, v in losses.items()]).sum()
        loss = loss + LEVELING * encoded.unevenness
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            shown = " ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
            pace = (time.monotonic() - started) / (step - first + 1)
            print(f"encoders {step}/{args.steps} {shown} {pace:.2f} s/step", flush=True)
        if step % 200 == 199 or step == args.steps - 1:
            missed, extra = word_errors(model, heads, validation)
            print(f"encoders {step} held-out missed {missed:.1%} extra {extra:+.1%}", flush=True)
            checkpoints.save(checkpoint, step + 1, **parts)


if __name__ == "__main__":
    main()
