"""Writes the table of memory plans for common GPUs in docs/guides/gpu.md: `make settings`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scripts.stack import ROOT
from vibevoice_vllm.memory_plan import GIB, Card, MemoryPlan
from vibevoice_vllm.model_sizes import PUBLISHED, model_sizes
from vibevoice_vllm.planner import Planner
from vibevoice_vllm.settings import LaunchSettings, PluginSettings

PAGE = ROOT / "docs" / "guides" / "gpu.md"
_START, _END = "<!-- plans, by `make settings` -->\n", "<!-- end -->\n"


@dataclass(frozen=True)
class PlannedCard:
    """A row of the table."""

    label: str
    gib: float
    """As shown by nvidia-smi."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings other than the defaults."""

    @property
    def flags(self) -> str:
        names = (f"`--{name.replace('_', '-')} {v}`" for name, v in self.settings.items())
        return ", ".join(names)


FP8 = {"quantization": "fp8"}
CARDS = (
    PlannedCard("12 GB (3060, 4070)", 12, {"quantization": "mxfp4"}),
    PlannedCard("16 GB (4080, A4000)", 16, FP8),
    PlannedCard("24 GB (L4, A10)", 22.49),
    PlannedCard("24 GB (L4, A10)", 22.49, FP8),
    PlannedCard("24 GB (3090, 4090)", 24),
    PlannedCard("24 GB (3090, 4090)", 24, FP8),
    PlannedCard("24 GB (3090, 4090)", 24, {**FP8, "gpu_memory_reserved": 5}),
    PlannedCard("48 GB (L40S)", 44.99),
    PlannedCard("80 GB (H100)", 79.65),
)


def table() -> str:
    """The rows for `CARDS`, as markdown."""
    head = (
        *("GPU", "flags", "usable", "for the engine", "weights", "work", "graphs", "cache"),
        *("context", "tokens per step", "requests", "hours of audio at once"),
    )
    rows = [head, ["---"] * len(head), *(_row(card) for card in CARDS)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(card: PlannedCard) -> list[str]:
    settings = LaunchSettings.model_construct(**card.settings)
    plan = Planner(
        model_sizes(PUBLISHED), Card.of(card.gib), settings, PluginSettings.model_construct()
    ).plan()
    return [card.label, card.flags, _gib(plan.card.total), *_numbers(plan)]


def _numbers(plan: MemoryPlan) -> list[str]:
    sizes = (plan.share, plan.weights, plan.work, plan.graphs, plan.cache)
    counts = (plan.context, plan.batched, plan.sequences)
    return [*map(_gib, sizes), *map(str, counts), f"{plan.hours_at_once:.1f}"]


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"


def main() -> None:
    text = PAGE.read_text()
    pattern = re.compile(f"({re.escape(_START)}).*({re.escape(_END)})", re.S)
    PAGE.write_text(pattern.sub(lambda found: found[1] + table() + found[2], text))


if __name__ == "__main__":
    main()
