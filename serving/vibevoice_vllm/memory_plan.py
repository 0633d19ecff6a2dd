"""The plan for a GPU's memory, made before anything is loaded: see docs/guides/gpu.md."""

from dataclasses import dataclass
from typing import Any

from vibevoice_vllm.settings import LaunchSettings

GIB = 1 << 30
AUDIO_TOKENS, TEXT_TOKENS = 7.5, 5
"""Tokens for a second of speech: in the prompt, and roughly as many again in the answer."""
_USABLE = 0.98
"""Minimum share of the memory shown by nvidia-smi that CUDA provides: 22.05 GiB of an L4's 22.49,
23.7 of a 3090's 24."""
_SHORTEST_CONTEXT = 8192
"""Ten minutes of audio: if vLLM chooses the context, at least this much must fit."""
_BLOCK = 16
"""Tokens of the cache that vLLM reserves."""


class DoesNotFit(Exception):
    """The model does not fit this device. The message says why and what would help."""


@dataclass(frozen=True)
class Card:
    """A GPU, or the smallest of several that share a model."""

    total: int
    """Bytes available through CUDA."""
    name: str
    used: int = 0
    """Bytes in use by other programs."""
    has_bfloat16: bool = True

    @classmethod
    def of(cls, gib: float, name: str = "", used: float = 0.0, has_bfloat16: bool = True) -> "Card":
        """A card with `gib` GiB in total and `used` GiB in use, as shown by nvidia-smi."""
        total = int(gib * _USABLE * GIB)
        return cls(total, name or f"a GPU of {gib:g} GiB", int(used * GIB), has_bfloat16)


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Bytes by purpose, and the choices behind them."""

    card: Card
    share: int
    """Bytes available to the engine: the sum of the other fields."""
    weights: int
    work: int
    """The larger of the memory for encoding a window and for a step of the language model, plus
    what both keep in memory."""
    graphs: int
    overhead: int
    spare: int
    """Left free on a shared card, since vLLM uses the planned cache size there without
    measuring."""
    cache: int
    """Bytes left for keys and values; zero or negative if nothing is left."""
    token: int
    """Bytes of one token's keys and values."""
    context: int
    """Maximum tokens of a request; -1 if vLLM chooses."""
    batched: int
    """Maximum tokens of a step."""
    sequences: int
    """Maximum requests of a step."""
    encoder_dtype: str
    shares_card: bool
    """Whether part of the card is reserved for other programs."""

    @property
    def tokens(self) -> int:
        """Number of tokens that fit into the cache."""
        return max(0, self.cache // self.token - _BLOCK)

    @property
    def margin(self) -> int:
        """Bytes of the cache left over after one request of the maximum length; negative if it does
        not fit."""
        return self.cache - (self.needed + _BLOCK) * self.token

    @property
    def needed(self) -> int:
        """Number of tokens that must fit."""
        return self.context if self.context > 0 else _SHORTEST_CONTEXT

    @property
    def hours_at_once(self) -> float:
        """Hours of speech that fit in the cache at once, with their transcripts."""
        return self.tokens / (AUDIO_TOKENS + TEXT_TOKENS) / 3600

    @property
    def minutes(self) -> float:
        """Length of the longest recording that leaves room for its transcript."""
        longest = self.context if self.context > 0 else self.tokens
        return longest / (AUDIO_TOKENS + TEXT_TOKENS) / 60

    def settings(self, given: LaunchSettings) -> LaunchSettings:
        """The given settings, with the plan's choices for those left open."""
        chosen: dict[str, Any] = {
            "max_model_len": self.context,
            "max_num_batched_tokens": self.batched,
            "max_num_seqs": self.sequences,
        }
        if self.shares_card:
            # Rounded down: vLLM does not start unless that share of the memory it sees is free.
            chosen["gpu_memory_utilization"] = int(self.share / self.card.total * 1000) / 1000
        return given.model_copy(update=chosen)

    def __str__(self) -> str:
        rows = [
            ("weights", self.weights, f"encoders in {self.encoder_dtype}"),
            ("work", self.work, f"{self.batched} tokens per step, {self.sequences} requests"),
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
