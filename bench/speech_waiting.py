"""Compares how the speech models' threads wait for each other on a CPU: how long they spin before
they sleep.

    python -m bench.speech_waiting
    python -m bench.speech_waiting --model longform --dtype bfloat16 --busy 0 1 2 4

For each setting, a process holds the same model of published size with random weights. The
processes run in turns, alone and next to processes that keep a core busy. Each round compares every
setting with torch's default, so load that lasts longer than a round affects all settings alike.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from bench.speech import MODELS, STEPS, Timing, run

DEFAULT = "300,000 checks"
WAYS = {
    DEFAULT: {},
    "10,000 checks": {"GOMP_SPINCOUNT": "10000"},
    "1,000 checks": {"GOMP_SPINCOUNT": "1000"},
    "no check": {"OMP_WAIT_POLICY": "PASSIVE"},
}
"""How threads wait → variables for libgomp, the OpenMP library in torch's wheels for Linux."""
VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
BUSY = "while True: pass"


class Child:
    """A process that holds a model and runs it on request."""

    def __init__(self, variables: Mapping[str, str], arguments: Sequence[str]) -> None:
        environ = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.speech_waiting", "--child", *arguments],
            env={**environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.run()  # warm-up

    def run(self) -> Timing:
        """Time one request."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        return Timing(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep `count` processes busy, one thread each."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def serve(options: argparse.Namespace) -> None:
    """Run one request for each line of stdin."""
    with tempfile.TemporaryDirectory() as folder:
        dtype = getattr(torch, options.dtype)
        build = MODELS[options.model]
        model = build(Path(folder), torch.device("cpu"), dtype, options.layers, options.streams)
        for _ in sys.stdin:
            timing = run(model, options.streams, STEPS[type(model)], options.frames)
            print(json.dumps(vars(timing)), flush=True)


def compare(children: Mapping[str, Child], rounds: int) -> None:
    """Print each setting's median frame and fastest frame, and the medians of its ratios to the
    default."""
    timings: dict[str, list[Timing]] = {name: [] for name in children}
    names = list(children)
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            timings[name].append(children[name].run())
    for name, found in timings.items():
        frame = 1000 * statistics.median(one.frame for one in found)
        fastest = 1000 * min(min(one.frames) for one in found)
        processor = 1000 * statistics.median(one.processor for one in found)
        both = list(zip(found, timings[DEFAULT], strict=True))
        times = statistics.median(one.frame / base.frame for one, base in both)
        costs = statistics.median(one.processor / base.processor for one, base in both)
        print(
            f"  {name:14} frame {frame:7.1f} ms x {times:.2f} (fastest {fastest:7.1f})   "
            f"processor {processor:7.1f} ms x {costs:.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare how threads of speech models wait.")
    parser.add_argument("--model", choices=list(MODELS), default="realtime")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--layers", type=int, default=0, help="language model layers; 0 = all")
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--frames", type=int, default=4, help="frames of a run after the first")
    parser.add_argument("--rounds", type=int, default=8, help="runs of each, in turns")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1], help="busy processes beside")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        serve(options)
        return
    with ExitStack() as stack:
        children: dict[str, Child] = {}
        for name, variables in WAYS.items():
            children[name] = Child(variables, sys.argv[1:])
            stack.callback(children[name].close)
        print(f"{options.model}, {options.dtype}, {options.streams} streams", flush=True)
        for count in options.busy:
            with busy(count):
                print(f"{count} busy processes beside", flush=True)
                compare(children, options.rounds)


if __name__ == "__main__":
    main()
