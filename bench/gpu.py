"""What only a GPU can show, in one command: `make bench-gpu`.

    python -m bench.gpu --model /srv/models            # else MODEL_DIR, else random weights
    python -m bench.gpu --minutes 15                   # what can be measured in that time
    python -m bench.gpu --cpu --layers 2 --short       # a rehearsal where there is no GPU
    python -m bench.gpu --table                        # docs/gpu.md again from bench/gpu.json

Engine and proxy are started for each setting. 1, 8, 32 and 64 clients have clips transcribed, then
comes one hour alone, then streams of speech, then other settings of the engine at one number of
clients. Answers straight from the engine all have the same number of tokens, so that random weights
cost what published ones cost; with published weights the proxy is measured with real answers too.
Figures are written as they come; what could not be measured is written with the reason.
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
    """docs/gpu.md from a file of results, if there is one."""
    results = Results.load(file) if file.exists() else None
    PAGE.write_text(page(PAGE.read_text() if PAGE.exists() else "# On a GPU\n", results))


def measure(bench: Bench, options: argparse.Namespace, weights: Path, sizes: Sizes) -> None:
    """Everything, the most important first.

    Raises:
        CheckpointError: the model asked for cannot be served.
        OutOfTime: before there was a model.
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
    parser = argparse.ArgumentParser(description="What only a GPU can show.")
    model = os.environ.get("MODEL_DIR", "")
    parser.add_argument("--model", default=model, help="folder or hub id (default: MODEL_DIR)")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop in time; 0 = no limit")
    parser.add_argument("--layers", type=int, default=0, help="of random models; 0 = all")
    parser.add_argument("--short", action="store_true", help="a rehearsal with small sizes")
    parser.add_argument("--cpu", action="store_true", help="a rehearsal without a GPU")
    names = [setting.name for setting in SETTINGS]
    parser.add_argument("--settings", nargs="*", choices=names, help="of the engine; default: all")
    speech = ["realtime", "longform"]
    parser.add_argument("--speech", nargs="*", choices=speech, default=speech)
    parser.add_argument("--microsoft-python", default="", help="environment with its plugin")
    parser.add_argument("--weights", type=Path, help="folder for random ones; else a temporary one")
    parser.add_argument("--results", type=Path, help=f"default: {FILE.relative_to(ROOT)}")
    parser.add_argument("--table", action="store_true", help="write docs/gpu.md and stop")
    options = parser.parse_args(arguments)
    if options.settings is None:
        options.settings = names[:1] if options.short else names
    if not options.table and not options.cpu and not gpus():
        parser.error("nvidia-smi finds no GPU; --cpu --layers 2 --short rehearses without one")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    shown = not (options.cpu or options.short)
    file = options.results or (FILE if shown else log_file("gpu").with_suffix(".json"))
    if options.table:
        write_page(file)
        return 0
    # SIGTERM ends the same way as Ctrl-C, so that engines are stopped too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Stopping an engine takes time too.
    seconds = max(60 * options.minutes - STOP_SECONDS, 0) if options.minutes else math.inf
    results = Results(date.today().isoformat(), machine(), "", options.short)
    sizes = SHORT if options.short else Sizes()
    bench = Bench(results, file, sizes, ON_CPU if options.cpu else {}, seconds)
    with contextlib.ExitStack() as cleanup:
        temporary = options.weights or cleanup.enter_context(tempfile.TemporaryDirectory())
        try:
            measure(bench, options, Path(temporary), sizes)
        except (CheckpointError, OutOfTime) as error:
            print(f"bench.gpu: {error or 'the time was up'}", file=sys.stderr)
            return 1
    print(f"results: {file}", flush=True)
    if shown and file == FILE:
        write_page(file)
    return 0 if results.clips else 1


if __name__ == "__main__":
    sys.exit(main())
