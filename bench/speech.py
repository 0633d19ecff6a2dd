"""How soon and how fast the speech models speak: published sizes, random weights, which cost what
trained ones cost.

    python bench/speech.py
    python bench/speech.py --models realtime --dtype bfloat16 --streams 1 2 4 8 --steps 5 10
    python bench/speech.py --layers 6 --frames 2         # a small part of the language models, soon
    python bench/speech.py --without all                 # what each optimisation gives, turn about
    python bench/speech.py --reference-python ENV/bin/python --reference-source VIBEVOICE

A frame is 133 ms of speech; every stream gets one from each step. The real-time factor is a step's
seconds by the seconds of a frame: below 1 a stream never waits. Processor time is that of all
threads, and on a machine that is busy otherwise the better measure. The last form measures
Microsoft's own code, a folder of microsoft/VibeVoice, in an environment with transformers 4.51.3.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / path) for path in (".", "proxy")]

from bench.speech_ablations import FULL_ALONE, WITHOUT  # noqa: E402
from bench.speech_models import (  # noqa: E402
    LOWER_POSITIONS,
    UPPER_POSITIONS,
    full_engine,
    realtime_engine,
    reference_sizes,
)

from vibevoice_tts.speech_model import Chunk, SpeechRequest, Turn  # noqa: E402
from vibevoice_tts.engines.longform import STEPS as FULL_STEPS  # noqa: E402
from vibevoice_tts.engines.longform import Full  # noqa: E402
from vibevoice_tts.engines.realtime import CFG_SCALE, Realtime  # noqa: E402
from vibevoice_tts.engines.realtime import STEPS as REALTIME_STEPS  # noqa: E402

FRAME = 3200 / 24_000
"""Seconds of speech in a frame."""
TEXT = "The birch canoe slid on the smooth planks while the sun rose over the quiet lake."
ENGINES: dict[str, Callable[..., Realtime | Full]] = {
    "realtime": realtime_engine,
    "full": full_engine,
}
STEPS = {Realtime: REALTIME_STEPS, Full: FULL_STEPS}
"""Denoising steps unless told otherwise."""


@dataclass
class Timing:
    """Seconds of one run."""

    first: float = 0.0
    """From the request to its first chunk."""
    frames: list[float] = field(default_factory=list)
    processor: float = 0.0
    """Processor time of a frame, in the mean."""

    @property
    def frame(self) -> float:
        """Seconds of a step, in the mean."""
        return statistics.fmean(self.frames)

    def __str__(self) -> str:
        return (
            f"first chunk {self.first:6.3f} s   frame {self.frame * 1000:7.1f} ms   "
            f"real-time factor {self.frame / FRAME:6.2f}   "
            f"processor {self.processor * 1000:7.1f} ms"
        )


def run(engine: Realtime | Full, streams: int, steps: int, frames: int) -> Timing:
    """Requests that join at once, their first frame, and `frames` more."""
    request = SpeechRequest((Turn(TEXT),), steps=steps, seed=1)
    timing = Timing()
    started = time.perf_counter()
    handles = [engine.join(request) for _ in range(streams)]
    chunks = [event for event in engine.step() if isinstance(event, Chunk)]
    timing.first = time.perf_counter() - started
    assert len(chunks) == streams, "a request made no chunk"
    processor = time.process_time()
    for _ in range(frames):
        before = time.perf_counter()
        engine.step()
        timing.frames.append(time.perf_counter() - before)
    timing.processor = (time.process_time() - processor) / frames
    for handle in handles:
        engine.leave(handle)
    return timing


def best(timings: Sequence[Timing]) -> Timing:
    """The least of each figure: what others on the machine took is no part of it."""
    fastest = min(timings, key=lambda timing: timing.frame)
    return Timing(
        min(timing.first for timing in timings),
        fastest.frames,
        min(timing.processor for timing in timings),
    )


def compare(engine: Realtime | Full, names: Sequence[str], options: argparse.Namespace) -> None:
    """What each optimisation gives one stream, in runs with and without in turn."""
    steps = options.steps[0] if options.steps else STEPS[type(engine)]
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
                timings[way].append(run(engine, 1, steps, options.frames))
    base = best(timings["with all"][1:])
    for way, found in timings.items():
        timing = best(found[1:])  # the first of each is to warm up
        print(
            f"  {way:19} {timing}   "
            f"x {timing.frame / base.frame:.2f} (processor x "
            f"{timing.processor / base.processor:.2f})",
            flush=True,
        )


def reference(options: argparse.Namespace, steps: int) -> Timing:
    """Microsoft's Realtime code at the same size."""
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
    done = subprocess.run(
        [options.reference_python, str(ROOT / "bench" / "speech_reference.py"), json.dumps(asked)],
        env={**os.environ, "PYTHONPATH": str(options.reference_source)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return best([Timing(**found) for found in json.loads(done.stdout.splitlines()[-1])])


def table(engine: Realtime | Full, options: argparse.Namespace) -> None:
    """A line for every number of streams and of denoising steps."""
    for steps in options.steps or [STEPS[type(engine)]]:
        in_time = [0]
        for streams in options.streams:
            run(engine, streams, steps, 1)  # to warm up
            timing = best(
                [run(engine, streams, steps, options.frames) for _ in range(options.rounds)]
            )
            if timing.frame <= FRAME:
                in_time.append(streams)
            print(f"  {steps:3} steps {streams:3} streams   {timing}", flush=True)
        print(f"  {steps:3} steps: {max(in_time)} streams in real time, of those tried", flush=True)
        if options.reference_python and isinstance(engine, Realtime):
            print(f"  {steps:3} steps   Microsoft's   {reference(options, steps)}", flush=True)


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description="How fast the speech models speak.")
    parser.add_argument("--models", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--device", default=device)
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--layers", type=int, default=0, help="of the language model; 0 = all")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, nargs="+", help="denoising steps; else the model's")
    parser.add_argument("--frames", type=int, default=6, help="measured after the first")
    parser.add_argument("--rounds", type=int, default=2, help="runs, of which the best counts")
    parser.add_argument("--threads", type=int, help="of torch; else as many as there are cores")
    parser.add_argument("--without", nargs="+", choices=["all", *WITHOUT], default=[])
    parser.add_argument("--reference-python", help="of an environment with transformers 4.51.3")
    parser.add_argument("--reference-source", type=Path, help="folder of microsoft/VibeVoice")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            engine = ENGINES[model](
                Path(folder),
                torch.device(options.device),
                getattr(torch, options.dtype),
                options.layers,
                max(options.streams),
            )
            print(
                f"{engine.name}, {options.layers or 'all'} layers, {options.dtype}, "
                f"{options.device}, {torch.get_num_threads()} threads",
                flush=True,
            )
            if options.without:
                ours = [name for name in WITHOUT if isinstance(engine, Full) or name != FULL_ALONE]
                asked = options.without
                compare(engine, [n for n in ours if n in asked or "all" in asked], options)
            else:
                table(engine, options)


if __name__ == "__main__":
    main()
