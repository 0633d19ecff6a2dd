"""Stage 3: the language model learns to write long transcripts of what the frozen encoders hear.

Recordings come from the pool that `heard` fills, so that minutes-long ones are affordable.
Besides the text loss, the hidden states at the audio tokens are asked (at half depth) for their
time, speaker and segment boundaries: what the text needs is then there to be copied. These heads
are thrown away.
"""

import argparse
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import Qwen2Tokenizer
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

from training.tiny_asr import checkpoints
from training.tiny_asr.espeak import RATE
from training.tiny_asr.heard import Heard, loaded, rearranged
from training.tiny_asr.model import HOP, make_config, make_model, prompt
from training.tiny_asr.recordings import MOST_WORDS, WORDS, Recording

BATCH_SECONDS = 100
"""Audio in a batch, unless one recording is longer."""
END = "<|im_end|>\n<|endoftext|>"
"""How VibeVoice-ASR ends its answer."""
ASSISTANT = "<|im_start|>assistant\n"
TIME_OR_WORD = re.compile(r'"(?:Start|End)":([\d.]+)|(?<=[" ])([a-z]+)(?=[" ])')


@dataclass(frozen=True)
class Example:
    tokens: torch.Tensor
    """(length,) prompt and answer ids; audio tokens are placeholders."""
    audio_at: int
    audio_tokens: int
    answer_at: int
    labels: dict[str, torch.Tensor]
    """Per audio token, int64."""
    pointers: torch.Tensor
    """(n, 3) int64: position of a token of the answer, 1 if it is part of a time and 0 if of a
    word, and the audio token that it is about."""
    embeddings: torch.Tensor
    """(audio tokens, hidden) as the encoders and projector gave them; empty before."""

    def with_audio(self, embeddings: torch.Tensor) -> "Example":
        """The same with embeddings, of which surplus rows (padding) are dropped."""
        return replace(self, embeddings=embeddings[: self.audio_tokens])


SHARES = {"pointer": 0.5, "digit": 0.5, "began": 0.1, "ended": 0.1}
"""Weights of the losses beside the text's; 0.15 for all others."""
DIGITS = 4
"""Of a time: tenths of a second, seconds, tens and hundreds."""


def digits(name: str, tenths: torch.Tensor) -> dict[str, torch.Tensor]:
    """The digits of times in tenths of a second, the last first; -100 where there is none."""
    return {
        f"{name}{place}": torch.where(tenths < 0, -100, tenths // 10**place % 10)
        for place in range(DIGITS)
    }


def time_labels(recording: Recording, frames: int) -> dict[str, torch.Tensor]:
    """At each audio token: its own time, in the middle of it; in a segment, and a token longer,
    when that began; after a segment, and up to the first token of the next, when it ended.

    What the answer says of times is then there to be found by what it said before: a word by the
    start of its segment, the next start by the last end.
    """
    own = ((torch.arange(frames) + 0.5) * HOP / RATE * 10).long()
    began, ended = torch.full((2, frames), -100)
    for segment in recording.segments:
        first, last = (min(frames - 1, int(t * RATE / HOP)) for t in (segment.start, segment.end))
        ended[first + 1 :] = -100
        began[first : last + 2] = round(segment.start * 10)
        ended[last + 1 :] = round(segment.end * 10)
    return {**digits("digit", own), **digits("began", began), **digits("ended", ended)}


def segment_labels(recording: Recording, frames: int) -> dict[str, torch.Tensor]:
    """Where segments begin (1) and end (2); who is speaking, and which word of the segment ended
    (-100 = nobody, none)."""
    edge = torch.zeros(frames, dtype=torch.long)
    speaker, nth = torch.full((2, frames), -100)
    for segment in recording.segments:
        first, last = (min(frames - 1, int(t * RATE / HOP)) for t in (segment.start, segment.end))
        speaker[first + 1 : last + 1] = segment.speaker
        edge[first], edge[last] = 1, 2
        for index, (_, _, end) in enumerate(segment.words):
            nth[min(frames - 1, int((end + 0.04) * RATE / HOP))] = index
    return {"edge": edge, "speaker": speaker, "nth": nth}


class Heads(nn.Module):
    """Read off the hidden states at the audio tokens, at half depth."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        times = [f"{name}{p}" for name in ("digit", "began", "ended") for p in range(DIGITS)]
        sizes = {"edge": 3, "speaker": 3, "nth": MOST_WORDS, **dict.fromkeys(times, 10)}
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, n) for name, n in sizes.items()})

    def losses(self, hidden: torch.Tensor, labels: dict[str, torch.Tensor]):
        known = {name: labels[name] >= 0 for name in self.heads}
        return {
            name: F.cross_entropy(head(hidden[known[name]]), labels[name][known[name]])
            for name, head in self.heads.items()
            if known[name].any()
        }


def extra_info(rng: np.random.Generator) -> str:
    """Now and then a hotword list, of digits or of any letters: it must not disturb."""
    if rng.random() < 0.5:
        return ", ".join(str(w) for w in rng.choice(WORDS, rng.integers(1, 4)))
    letters = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ,.-'0123456789")
    return "".join(rng.choice(letters, rng.integers(3, 30)))


def point(recording: Recording, spans: list[tuple[int, int]], at: int, frames: int) -> torch.Tensor:
    """`Example.pointers`, from the characters that each token spans; the answer starts `at`."""
    words = iter(w for s in recording.segments for w in s.words)
    edges = iter(t for s in recording.segments for t in (s.start, s.end))
    about: list[tuple[int, int, int, int]] = []
    for match in TIME_OR_WORD.finditer(recording.answer()):
        if match[1]:
            about.append((*match.span(1), 1, int(next(edges) * RATE / HOP)))
        else:
            about.append((*match.span(2), 0, int((next(words)[2] + 0.04) * RATE / HOP)))
    pointers, index = [], 0
    for position, (start, end) in enumerate(spans):
        while index < len(about) and about[index][1] + at <= start:
            index += 1
        if index < len(about) and end > about[index][0] + at and end > start >= at:
            pointers.append((position, about[index][2], min(about[index][3], frames - 1)))
    return torch.tensor(pointers, dtype=torch.int64).view(-1, 3)


def text_of(tokenizer, recording: Recording, frames: int, rng: np.random.Generator) -> Example:
    """Prompt, answer and labels of a recording of so many audio tokens, still without audio."""
    asked = prompt(recording.duration, frames)
    if rng.random() < 0.1:
        asked = asked.replace(
            "audio, please", f"audio, with extra info: {extra_info(rng)}\n\nPlease"
        )
    answer_at = len(tokenizer(asked.removesuffix(ASSISTANT)).input_ids)
    encoding = tokenizer(asked + recording.answer() + END, return_offsets_mapping=True)
    tokens = torch.tensor(encoding.input_ids)
    pointers = point(recording, encoding.offset_mapping, len(asked), frames)
    placeholder = tokenizer.get_vocab()["<|box_start|>"]
    audio_at = int((tokens == placeholder).nonzero()[0])
    labels = {**time_labels(recording, frames), **segment_labels(recording, frames)}
    return Example(tokens, audio_at, frames, answer_at, labels, pointers, torch.empty(0))


class Pool:
    """What was heard so far, in the files of a folder that may still grow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: set[Path] = set()
        self.heard: list[Heard] = []

    def refresh(self) -> None:
        for file in sorted(set(self._folder.glob("*.pt")) - self._read):
            self.heard += loaded(file)
            self._read.add(file)


def batch(pool: Pool, tokenizer, rng: np.random.Generator, shortest: float, longest: float):
    """Recordings of about the same length, log-uniform between both (seconds), rearranged from
    the pool; as many as make `BATCH_SECONDS`."""
    seconds = float(np.exp(rng.uniform(np.log(shortest), np.log(longest))))
    rows: list[Example] = []
    while not rows or (len(rows) + 1) * seconds <= BATCH_SECONDS:
        heard = pool.heard[int(rng.integers(len(pool.heard)))]
        recording, heard = rearranged(heard, int(seconds * RATE / HOP), rng)
        text = text_of(tokenizer, recording, len(heard.embeddings), rng)
        rows.append(text.with_audio(heard.embeddings))
    return rows


def pointer_loss(model, hidden: torch.Tensor, rows: list[Example]) -> torch.Tensor:
    """Guided attention (Tachibana et al. 2017): two heads of the layer that reads `hidden` learn
    to look at the audio token, or the one before, that the next token of the answer is about."""
    lm = model.model.language_model
    layer = lm.layers[len(lm.layers) // 2]
    x = layer.input_layernorm(hidden)
    attention, size = layer.self_attn, layer.self_attn.head_dim
    q = attention.q_proj(x).unflatten(-1, (-1, size)).transpose(1, 2)[:, :2]
    k = attention.k_proj(x).unflatten(-1, (-1, size)).transpose(1, 2)[:, :1]
    cos, sin = lm.rotary_emb(x, torch.arange(x.shape[1])[None])
    q, k = apply_rotary_pos_emb(q, k, cos, sin)
    losses = []
    for row, e in enumerate(rows):
        if len(e.pointers):
            position, head, frame = e.pointers.T
            asking = q[row, head, position - 1].float()
            scores = asking @ k[row, 0].float().T * size**-0.5
            future = torch.arange(scores.shape[1]) >= position[:, None]
            looked = scores.masked_fill(future, -torch.inf).log_softmax(-1)
            targets = e.audio_at + torch.stack([frame, (frame - 1).clamp(0)], 1)
            losses.append(-looked.gather(1, targets).logsumexp(1))
    return torch.cat(losses).mean() if losses else hidden.new_zeros(())


def forward(model, heads: Heads, rows: list[Example], noise: float):
    """Text loss and label losses of a batch. Right padding under a causal mask needs no mask."""
    length = max(len(e.tokens) for e in rows)
    tokens = torch.stack([F.pad(e.tokens, (0, length - len(e.tokens))) for e in rows])
    targets = torch.full_like(tokens, -100)
    embeddings = model.model.language_model.embed_tokens(tokens).clone()
    for row, e in enumerate(rows):
        targets[row, e.answer_at : len(e.tokens)] = e.tokens[e.answer_at :]
        heard = e.embeddings.float()
        heard = heard + noise * heard.detach().std() * torch.randn_like(heard)
        embeddings[row, e.audio_at : e.audio_at + e.audio_tokens] = heard
    with torch.autocast("cpu", torch.bfloat16):
        out = model.model.language_model(
            inputs_embeds=embeddings, output_hidden_states=True, use_cache=False
        )
        asked = targets[:, 1:] >= 0
        logits = model.lm_head(out.last_hidden_state[:, :-1][asked])
    text = F.cross_entropy(logits.float(), targets[:, 1:][asked])
    middle = out.hidden_states[len(out.hidden_states) // 2].float()
    at_audio = torch.cat(
        [middle[r, e.audio_at : e.audio_at + e.audio_tokens] for r, e in enumerate(rows)]
    )
    labels = {k: torch.cat([e.labels[k] for e in rows]) for k in rows[0].labels}
    losses = heads.losses(at_audio, labels)
    losses["pointer"] = pointer_loss(model, middle, rows)
    return text, losses, (logits.argmax(-1) == targets[:, 1:][asked])


def total(text: torch.Tensor, labels: dict[str, torch.Tensor]) -> torch.Tensor:
    """What is minimised: the text loss, and a share of the others, of the pointers most."""
    shares = [SHARES.get(name.rstrip("0123"), 0.15) * loss for name, loss in labels.items()]
    return text + torch.stack(shares).sum()


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
    heads = Heads(model.lm_head.in_features)
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
    pool, unheard = Pool(args.run / "heard"), Pool(args.run / "heard-held-out")
    unheard.refresh()
    rng = np.random.default_rng(3)
    held_out = [batch(unheard, tokenizer, rng, *args.seconds) for _ in range(10)]
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
