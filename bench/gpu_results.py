"""Stores the results of `bench.gpu` in bench/gpu.json, and as tables in docs/results/gpu.md."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from scripts.stack import ROOT

FILE = ROOT / "bench" / "gpu.json"
PAGE = ROOT / "docs" / "results" / "gpu.md"
TITLE = "## Measured"
NOTHING = (
    "There are no results yet, because no GPU was available. Run `make bench-gpu` on a machine "
    "with a GPU to write them here."
)
_SECTION = re.compile(rf"^{TITLE}\n.*?(?=^## |\Z)", re.M | re.S)


@dataclass
class Start:
    """How an engine started."""

    setting: str
    seconds: float
    """Seconds until the engine and the proxy were ready."""
    memory: float
    """GiB on the GPUs, or of all processes without a GPU, after the last measurement."""


@dataclass
class Clips:
    """Many recordings, transcribed by several clients at once."""

    setting: str
    clients: int
    clips: int
    clip_seconds: float
    seconds: float
    """Seconds for all of them."""
    tokens: int
    first: list[float]
    """Seconds until the first token of each, or until the answer if it is not streamed."""
    token_ms: float
    """Median milliseconds per token, after the first."""
    failures: int = 0

    @property
    def speed(self) -> float:
        """Seconds of audio transcribed per second."""
        return (self.clips - self.failures) * self.clip_seconds / self.seconds


@dataclass
class Hour:
    """One long recording, transcribed alone."""

    setting: str
    audio_seconds: float
    first: float
    seconds: float
    tokens: int
    whole: bool
    """False if time ran out before its end."""


@dataclass
class Speech:
    """Several streams of speech at once."""

    model: str
    dtype: str
    layers: int
    """Layers of the language model; 0 means all."""
    steps: int
    streams: int
    first: float
    frame_ms: float
    factor: float
    """Seconds to compute a frame, divided by the seconds of speech in it."""

    @classmethod
    def from_json(cls, line: str) -> "Speech":
        """Parse a line of `bench.speech --json`."""
        return cls(**json.loads(line))


@dataclass
class Results:
    """The results of a run."""

    date: str
    machine: dict[str, str]
    weights: str
    short: bool = False
    """Whether it was a rehearsal, with small sizes and no meaningful figures."""
    starts: list[Start] = field(default_factory=list)
    clips: list[Clips] = field(default_factory=list)
    hours: list[Hour] = field(default_factory=list)
    speech: list[Speech] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """What was not measured, and why."""

    def save(self, file: Path) -> None:
        """Write atomically, so that a run that is killed leaves its last results."""
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=1) + "\n")
        partial.replace(file)

    @classmethod
    def load(cls, file: Path) -> "Results":
        values = json.loads(file.read_text())
        kinds = {"starts": Start, "clips": Clips, "hours": Hour, "speech": Speech}
        rows = {name: [kind(**row) for row in values[name]] for name, kind in kinds.items()}
        return cls(**{**values, **rows, "skipped": [tuple(pair) for pair in values["skipped"]]})


def markdown(results: Results) -> str:
    """The tables as markdown, without a title."""
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    parts = [f"{results.date}, {machine}. Weights: {results.weights}."]
    if results.short:
        parts.append("A rehearsal with small sizes: these figures say nothing about the model.")
    if results.starts:
        rows = [(s.setting, f"{s.seconds:.0f} s", f"{s.memory:.1f} GiB") for s in results.starts]
        parts.append(_table(("engine", "ready after", "memory"), rows))
    if results.clips:
        parts.append(
            "Recordings transcribed by many clients at once; if a number of tokens is given, every "
            "answer has exactly that many:"
        )
        heads = ("engine", "clients", "recordings", "× real time", "tokens/s")
        heads += ("first token, median and 95 %", "ms per token")
        parts.append(_table(heads, [_clips_row(c) for c in results.clips]))
    if results.hours:
        heads = ("engine", "one recording alone", "first token", "tokens", "ms per token", "total")
        parts.append(_table(heads, [_hour_row(h) for h in results.hours]))
    if results.speech:
        parts.append("Speech; with a real-time factor below 1, no stream has to wait:")
        heads = ("model", "steps", "streams", "first chunk", "frame", "real-time factor")
        parts.append(_table(heads, [_speech_row(s) for s in results.speech]))
    if results.skipped:
        parts.append("Not measured:")
        parts.append("\n".join(f"- {what}: {why}" for what, why in results.skipped))
    return "\n\n".join(parts)


def page(text: str, results: Results | None) -> str:
    """docs/results/gpu.md with the section "Measured" updated, or added at the end."""
    section = f"{TITLE}\n\n{markdown(results) if results else NOTHING}\n"
    if found := _SECTION.search(text):
        after = text[found.end() :]
        return text[: found.start()] + section + ("\n" + after if after else "")
    return f"{text.rstrip()}\n\n{section}"


def _clips_row(c: Clips) -> tuple[str, ...]:
    failed = f", {c.failures} failed" if c.failures else ""
    return (
        c.setting,
        str(c.clients),
        f"{c.clips} of {c.clip_seconds:g} s{failed}",
        f"{c.speed:.1f}",
        f"{c.tokens / c.seconds:.0f}",
        f"{_quantile(c.first, 0.5):.2f} and {_quantile(c.first, 0.95):.2f} s",
        f"{c.token_ms:.1f}",
    )


def _hour_row(h: Hour) -> tuple[str, ...]:
    token = 1000 * (h.seconds - h.first) / max(h.tokens - 1, 1)
    total = f"{h.seconds:.0f} s" if h.whole else f"stopped after {h.seconds:.0f} s"
    length = f"{h.audio_seconds / 60:.3g} min"
    return h.setting, length, f"{h.first:.1f} s", str(h.tokens), f"{token:.1f}", total


def _speech_row(s: Speech) -> tuple[str, ...]:
    model = f"{s.model}, {s.dtype}" + (f", {s.layers} layers" if s.layers else "")
    first, frame = f"{1000 * s.first:.0f} ms", f"{s.frame_ms:.1f} ms"
    return model, str(s.steps), str(s.streams), first, frame, f"{s.factor:.2f}"


def _quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of `values` does not exceed; 0 if empty."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else 0.0


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
