"""Losses for training the language model: the text loss, and losses of labels at the audio tokens.

At half depth, the hidden states at the audio tokens must predict time, speaker, and segment
boundaries, so that the text only has to copy them. These heads are discarded afterwards.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

from training.tiny_asr.examples import DIGITS, Example
from training.tiny_asr.recordings import MOST_WORDS

SHARES = {"pointer": 0.5, "digit": 0.5, "began": 0.1, "ended": 0.1}
"""Weights of the losses other than the text loss; 0.15 for those not listed."""


class TextHeads(nn.Module):
    """Predicts labels from the hidden states at the audio tokens, at half depth."""

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


def pointer_loss(model, hidden: torch.Tensor, rows: list[Example]) -> torch.Tensor:
    """Guided attention (Tachibana et al. 2017): two heads of the layer that reads `hidden` learn
    to attend to the audio token, or the one before, that the answer's next token refers to."""
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


def forward(model, heads: TextHeads, rows: list[Example], noise: float):
    """Text loss and label losses of a batch. With the causal mask, right padding needs no other
    mask."""
    length = max(len(e.tokens) for e in rows)
    tokens = torch.stack([F.pad(e.tokens, (0, length - len(e.tokens))) for e in rows])
    targets = torch.full_like(tokens, -100)
    embeddings = model.model.language_model.embed_tokens(tokens).clone()
    for row, e in enumerate(rows):
        targets[row, e.answer_at : len(e.tokens)] = e.tokens[e.answer_at :]
        audio = e.embeddings.float()
        audio = audio + noise * audio.detach().std() * torch.randn_like(audio)
        embeddings[row, e.audio_at : e.audio_at + e.audio_tokens] = audio
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
    """The loss to minimize: the text loss plus weighted other losses, mostly of the pointers."""
    shares = [SHARES.get(name.rstrip("0123"), 0.15) * loss for name, loss in labels.items()]
    return text + torch.stack(shares).sum()
