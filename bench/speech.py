"""Measures latency and speed of the speech models at their published sizes. Their weights are
random, which take as long as trained ones.

    python -m bench.speech
    python -m bench.speech --models realtime --dtype bfloat16 --streams 1 2 4 8 --steps 5 10
    python -m bench.speech --layers 6 --frames 2     # a few layers of the language models, quick
    python -m bench.speech --without all             # the gain of each optimization
    python -m bench.speech --reference-python ENV/bin/python --reference-source VIBEVOICE

A frame is 133 ms of speech; each step computes one for every stream. The real-time factor is the
duration of a step divided by that of a frame: below 1, no stream has to wait. Processor time is
that of all threads, the better measure on a machine with other load. The last form measures
Microsoft's own code, a folder of microsoft/VibeVoice, in an environment with transformers 4.51.3.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench.speech_ablations import LONGFORM_ONLY, WITHOUT
from bench.speech_models import (
    LOWER_POSITIONS,
    UPPER_POSITIONS,
    build_longform,
    build_realtime,
    reference_sizes,
)
from vibevoice_core.audio import TOKENS_PER_SECOND
from vibevoice_tts.engines.longform import STEPS as LONGFORM_STEPS
from vibevoice_tts.engines.longform import Longform
from vibevoice_tts.engines.realtime import CFG_SCALE, Realtime
from vibevoice_tts.engines.realtime import STEPS as REALTIME_STEPS
from vibevoice_tts.speech_model import Chunk, SpeechRequest, Turn

FRAME = 1 / TOKENS_PER_SECOND
"""Seconds of speech in a frame."""
TEXT = "The birch canoe slid on the smooth planks while the sun rose over the quiet lake."
MODELS: dict[str, Callable[..., Realtime | Longform]] = {
    "realtime": build_realtime,
    "longform": build_longform,
}
STEPS = {Realtime: REALTIME_STEPS, Longform: LONGFORM_STEPS}
"""Default number of denoising steps."""


@dataclass
class Timing:
    """Timing of one run, in seconds."""

    first: float = 0.0
    """From a request to its first chunk."""
    frames: list[float] = field(default_factory=list)
    processor: float = 0.0
    """Mean processor time of a frame."""

    @property
    def frame(self) -> float:
        """Mean seconds of a step."""
        return statistics.fmean(self.frames)

    def __str__(self) -> str:
        return (
            f"first chunk {self.first:6.3f} s   frame {self.frame * 1000:7.1f} ms   "
            f"real-time factor {self.frame / FRAME:6.2f}   "
            f"processor {self.processor * 1000:7.1f} ms"
        )


def run(model: Realtime | Longform, streams: int, steps: int, frames: int) -> Timing:
    """Time requests that start together: their first frame, and `frames` more."""
    request = SpeechRequest((Turn(TEXT),), steps=steps, seed=1)
    timing = Timing()
    started = time.perf_counter()
    handles = [model.join(request) for _ in range(streams)]
    chunks = [event for event in model.step() if isinstance(event, Chunk)]
    timing.first = time.perf_counter() - started
    assert len(chunks) == streams, "a request produced no chunk"
    processor = time.process_time()
    for _ in range(frames):
        before = time.perf_counter()
        model.step()
        timing.frames.append(time.perf_counter() - before)
    timing.processor = (time.process_time() - processor) / frames
    for handle in handles:
        model.leave(handle)
    return timing


def best(timings: Sequence[Timing]) -> Timing:
    """The minimum of each value, which is least affected by other load on the machine."""
    fastest = min(timings, key=lambda timing: timing.frame)
    return Timing(
        min(timing.first for timing in timings),
        fastest.frames,
        min(timing.processor for timing in timings),
    )


def compare(model: Realtime | Longform, names: Sequence[str], options: argparse.Namespace) -> None:
    """Print the gain of each optimization for one stream, in alternating runs with and without."""
    steps = options.steps[0] if options.steps else STEPS[type(model)]
    ways: dict[str, Sequence[str]] = {
        "with all": (),
        **{f"without {name}": (name,) for name in names},
        "without any": names,
    }
    timings: dict[str, list[Timing]] = {way: [] for way in ways}
    for _ in range(options.rounds + 1):
        for way, off in ways.items():
            with ExitStack() as stack:
                for name in off:
                    stack.enter_context(WITHOUT[name]())
                timings[way].append(run(model, 1, steps, options.frames))
    base = best(timings["with all"][1:])
    for way, found in timings.items():
        timing = best(found[1:])  # the first run of each is a warm-up
        print(
            f"  {way:19} {timing}   "
            f"x {timing.frame / base.frame:.2f} (processor x "
            f"{timing.processor / base.processor:.2f})",
            flush=True,
        )


def reference(options: argparse.Namespace, steps: int) -> Timing:
    """Time Microsoft's Realtime code at the same size."""
    asked = {
        "config": reference_sizes(options.layers),
        "device": options.device,
        "dtype": options.dtype,
        "threads": torch.get_num_threads(),
        "positions": [LOWER_POSITIONS, UPPER_POSITIONS],
        "tokens": len(TEXT) + 1,
        "cfg_scale": CFG_SCALE,
        "steps": steps,
        "frames": options.frames,
        "rounds": options.rounds,
    }
    script = Path(__file__).with_name("speech_reference.py")
    done = subprocess.run(
        [options.reference_python, str(script), json.dumps(asked)],
        env={**os.environ, "PYTHONPATH": str(options.reference_source)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return best([Timing(**found) for found in json.loads(done.stdout.splitlines()[-1])])


def table(model: Realtime | Longform, options: argparse.Namespace) -> None:
    """Print a line for each number of streams and of denoising steps."""
    for steps in options.steps or [STEPS[type(model)]]:
        in_time = [0]
        for streams in options.streams:
            run(model, streams, steps, 1)  # warm-up
            timing = best(
                [run(model, streams, steps, options.frames) for _ in range(options.rounds)]
            )
            if timing.frame <= FRAME:
                in_time.append(streams)
            print(f"  {steps:3} steps {streams:3} streams   {timing}", flush=True)
            if options.json:
                row = {"model": model.card.name, "dtype": options.dtype, "layers": options.layers}
                row |= {"steps": steps, "streams": streams, "first": timing.first}
                row |= {"frame_ms": 1000 * timing.frame, "factor": timing.frame / FRAME}
                with options.json.open("a") as file:
                    print(json.dumps(row), file=file)
        print(f"  {steps:3} steps: {max(in_time)} streams in real time, of those tried", flush=True)
        if options.reference_python and isinstance(model, Realtime):
            print(f"  {steps:3} steps   Microsoft's   {reference(options, steps)}", flush=True)


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description="Measure the speed of the speech models.")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--device", default=device)
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--layers", type=int, default=0, help="language model layers; 0 = all")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument(
        "--steps", type=int, nargs="+", help="denoising steps (default: the model's)"
    )
    parser.add_argument("--frames", type=int, default=6, help="number measured after the first")
    parser.add_argument("--rounds", type=int, default=2, help="runs, of which the best counts")
    parser.add_argument("--threads", type=int, help="torch threads (default: one per core)")
    parser.add_argument("--without", nargs="+", choices=["all", *WITHOUT], default=[])
    parser.add_argument("--reference-python", help="Python with transformers 4.51.3")
    parser.add_argument("--reference-source", type=Path, help="folder of microsoft/VibeVoice")
    parser.add_argument("--json", type=Path, help="file for results as JSON lines (appended)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            model = MODELS[name](
                Path(folder),
                torch.device(options.device),
                getattr(torch, options.dtype),
                options.layers,
                max(options.streams),
            )
            print(
                f"{model.card.name}, {options.layers or 'all'} layers, {options.dtype}, "
                f"{options.device}, {torch.get_num_threads()} threads",
                flush=True,
            )
            if options.without:
                usable = [n for n in WITHOUT if isinstance(model, Longform) or n != LONGFORM_ONLY]
                asked = options.without
                compare(model, [n for n in usable if n in asked or "all" in asked], options)
            else:
                table(model, options)


if __name__ == "__main__":
    main()
