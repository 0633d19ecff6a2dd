"""What of a GPU's memory goes where, before anything is loaded: see docs/gpu.md."""

from dataclasses import dataclass
from typing import Any

from vibevoice_vllm.settings import LaunchSettings

GIB = 1 << 30
AUDIO_TOKENS, TEXT_TOKENS = 7.5, 5
"""A second of speech in the prompt and, about, in the answer."""
_USABLE = 0.98
"""Of the memory that nvidia-smi shows, what CUDA gives at least: 22.05 GiB of an L4's 22.49, 23.7
of a 3090's 24."""
_SHORTEST_CONTEXT = 8192
"""Ten minutes of audio: where vLLM is to choose, it must be able to choose that much."""
_BLOCK = 16
"""Tokens that vLLM holds back from the cache."""


class DoesNotFit(Exception):
    """The engine cannot work on this card; the message says why and what would help."""


@dataclass(frozen=True)
class Card:
    """A GPU, or the smallest of those that share a model."""

    total: int
    """Bytes that CUDA gives."""
    name: str
    used: int = 0
    """Bytes that other programs have now."""
    has_bfloat16: bool = True

    @classmethod
    def of(cls, gib: float, name: str = "", used: float = 0.0, has_bfloat16: bool = True) -> "Card":
        """A card of so many GiB, in use and in all, as nvidia-smi shows them."""
        total = int(gib * _USABLE * GIB)
        return cls(total, name or f"a GPU of {gib:g} GiB", int(used * GIB), has_bfloat16)


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Bytes by use, and the choices that they come from."""

    card: Card
    share: int
    """What the engine may take, the sum of the others."""
    weights: int
    work: int
    """The larger of encoding a window and a step of the language model, and what is held then."""
    graphs: int
    overhead: int
    spare: int
    """Left over on a card that is shared, where vLLM takes the plan's cache without measuring."""
    cache: int
    """What is left for keys and values; not positive where there is nothing left."""
    token: int
    """Of one token's keys and values."""
    context: int
    """Most tokens of a request; -1 where vLLM is to choose."""
    batched: int
    """Most tokens of a step."""
    sequences: int
    """Most requests of a step."""
    encoder_dtype: str
    shares_card: bool
    """Whether other programs are given a part of the card."""

    @property
    def tokens(self) -> int:
        """Tokens that fit into the cache."""
        return max(0, self.cache // self.token - _BLOCK)

    @property
    def margin(self) -> int:
        """Bytes of the cache beyond one request of the longest context; negative if it does not
        fit."""
        return self.cache - (self.needed + _BLOCK) * self.token

    @property
    def needed(self) -> int:
        """Tokens that must fit."""
        return self.context if self.context > 0 else _SHORTEST_CONTEXT

    @property
    def hours_at_once(self) -> float:
        """Hours of speech in the cache at the same time, with their transcripts."""
        return self.tokens / (AUDIO_TOKENS + TEXT_TOKENS) / 3600

    @property
    def minutes(self) -> float:
        """Of the longest recording that leaves room for its transcript."""
        longest = self.context if self.context > 0 else self.tokens
        return longest / (AUDIO_TOKENS + TEXT_TOKENS) / 60

    def settings(self, given: LaunchSettings) -> LaunchSettings:
        """The settings with the plan's choices in the place of what was left open."""
        chosen: dict[str, Any] = {
            "max_model_len": self.context,
            "max_num_batched_tokens": self.batched,
            "max_num_seqs": self.sequences,
        }
        if self.shares_card:
            # Rounded down: vLLM does not start unless so much is free of the memory that it sees.
            chosen["gpu_memory_utilization"] = int(self.share / self.card.total * 1000) / 1000
        return given.model_copy(update=chosen)

    def __str__(self) -> str:
        rows = [
            ("weights", self.weights, f"encoders in {self.encoder_dtype}"),
            ("work", self.work, f"{self.batched} tokens a step, {self.sequences} requests"),
            ("CUDA graphs", self.graphs, ""),
            ("kernels", self.overhead, ""),
            *([("spare", self.spare, "")] if self.spare else []),
            ("cache", self.cache, f"{self.tokens} tokens, {self.hours_at_once:.1f} hours of audio"),
        ]
        lines = [f"  {name:<12}{size / GIB:6.2f} GiB  {note}".rstrip() for name, size, note in rows]
        return "\n".join(
            [
                f"memory plan for {self.card.name}: {self.share / GIB:.2f} GiB of "
                f"{self.card.total / GIB:.2f} for the engine",
                *lines,
                f"  longest recording: about {min(61, self.minutes):.0f} minutes, in a context of "
                f"{self.context if self.context > 0 else self.tokens} tokens",
            ]
        )
