"""Measures everything that needs a GPU, in one command: `make bench-gpu`.

    python -m bench.gpu --model /srv/models            # or MODEL_DIR, or else random weights
    python -m bench.gpu --minutes 15                   # only what can be measured in that time
    python -m bench.gpu --cpu --layers 2 --short       # rehearsal without a GPU
    python -m bench.gpu --table                        # write docs/results/gpu.md again

Starts the engine and the proxy for each setting. First, 1, 8, 32, and 64 clients transcribe clips;
then one hour-long recording runs alone, then streams of speech, and finally other engine settings
with one number of clients. All answers directly from the engine have the same number of tokens, so
random weights cost as much as published ones. With published weights, the proxy is also measured
with real answers. Results are written as they arrive; what could not be measured is listed with the
reason.
"""

import argparse
import contextlib
import math
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from scripts.stack import ROOT, STOP_SECONDS

from bench.engine_requests import OutOfTime
from bench.gpu_machine import gpus, machine
from bench.gpu_results import FILE, PAGE, Results, page
from bench.gpu_run import SHORT, Bench, Sizes
from bench.gpu_settings import DEFAULT, ON_CPU, SETTINGS, chosen, find, microsoft
from bench.servers import log_file
from vibevoice_vllm.checkpoint import CheckpointError


def write_page(file: Path) -> None:
    """Write docs/results/gpu.md from a file of results, if there is one."""
    results = Results.load(file) if file.exists() else None
    PAGE.write_text(page(PAGE.read_text() if PAGE.exists() else "# On a GPU\n", results))


def measure(bench: Bench, options: argparse.Namespace, weights: Path, sizes: Sizes) -> None:
    """Measure everything, the most important first.

    Raises:
        CheckpointError: the requested model cannot be served.
        OutOfTime: time ran out before a model was available.
    """
    with bench.in_time():
        model = find(options.model, weights, options.layers)
    bench.results.weights = model.weights
    print(f"weights: {model.weights}", flush=True)
    bench.step("transcription", lambda: bench.transcription(model, DEFAULT, sizes.clients))
    device = "cpu" if options.cpu else "cuda"
    for name in options.speech:
        bench.step(f"speech, {name}", lambda n=name: bench.speech(n, device, options.layers))
    for setting in chosen(options.settings):
        bench.step(
            f"engine with {setting.name}",
            lambda s=setting: bench.transcription(model, s, sizes.compared),
        )
    bench.step(
        "Microsoft's plugin",
        lambda: bench.transcription(model, microsoft(options.microsoft_python), sizes.compared),
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure everything that needs a GPU.")
    model = os.environ.get("MODEL_DIR", "")
    parser.add_argument("--model", default=model, help="folder or hub id (default: MODEL_DIR)")
    parser.add_argument("--minutes", type=float, default=0.0, help="time limit; 0 = none")
    parser.add_argument("--layers", type=int, default=0, help="of random models; 0 = all")
    parser.add_argument("--short", action="store_true", help="rehearsal with small sizes")
    parser.add_argument("--cpu", action="store_true", help="rehearsal without a GPU")
    names = [setting.name for setting in SETTINGS]
    parser.add_argument("--settings", nargs="*", choices=names, help="of the engine; default: all")
    speech = ["realtime", "longform"]
    parser.add_argument("--speech", nargs="*", choices=speech, default=speech)
    parser.add_argument("--microsoft-python", default="", help="environment with its plugin")
    parser.add_argument(
        "--weights", type=Path, help="folder for random weights (default: temporary)"
    )
    parser.add_argument("--results", type=Path, help=f"default: {FILE.relative_to(ROOT)}")
    parser.add_argument("--table", action="store_true", help="write docs/results/gpu.md and exit")
    options = parser.parse_args(arguments)
    if options.settings is None:
        options.settings = names[:1] if options.short else names
    if not options.table and not options.cpu and not gpus():
        parser.error("nvidia-smi finds no GPU; use --cpu --layers 2 --short for a rehearsal")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    shown = not (options.cpu or options.short)
    file = options.results or (FILE if shown else log_file("gpu").with_suffix(".json"))
    if options.table:
        write_page(file)
        return 0
    # SIGTERM is handled like Ctrl-C, so that engines are stopped too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Stopping an engine takes time as well.
    seconds = max(60 * options.minutes - STOP_SECONDS, 0) if options.minutes else math.inf
    results = Results(date.today().isoformat(), machine(), "", options.short)
    sizes = SHORT if options.short else Sizes()
    bench = Bench(results, file, sizes, ON_CPU if options.cpu else {}, seconds)
    with contextlib.ExitStack() as cleanup:
        temporary = options.weights or cleanup.enter_context(tempfile.TemporaryDirectory())
        try:
            measure(bench, options, Path(temporary), sizes)
        except (CheckpointError, OutOfTime) as error:
            print(f"bench.gpu: {error or 'time ran out'}", file=sys.stderr)
            return 1
    print(f"results: {file}", flush=True)
    if shown and file == FILE:
        write_page(file)
    return 0 if results.clips else 1


if __name__ == "__main__":
    sys.exit(main())
