"""Measures the gain of replicas: one engine on all cores, or one on each share of them.

    python -m bench.replicas --layouts one replicas

The layouts serve the embedded checkpoint on the same cores, one after another, and transcribe the
same clips for the same number of clients through a proxy:

- `one`: one engine,
- `replicas`: `--replicas` engines, each on its share of the cores, behind nginx with
  deploy/nginx.conf,
- `data-parallel`: one engine with vLLM's `--data-parallel-size`.

The engines of each layout are new, so none has encoded a clip before.
"""

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.engine import TINY, start_engine
from tests.support.nginx import start_nginx
from tests.support.processes import proxy_process
from training.tiny_asr.espeak import Synthesizer
from training.tiny_asr.recordings import Composer

from bench.transcription import measure

LAYOUTS = ("one", "replicas", "data-parallel")
Engine = contextlib.AbstractContextManager[str]
"""Starts an engine and yields its base URL."""


def engines(layout: str, cores: list[int], count: int, folder: Path) -> Sequence[Engine]:
    """The engines of a layout; logs are written to `folder`."""
    if layout == "replicas":
        shares = [cores[number::count] for number in range(count)]
    else:
        shares = [cores]
    bindings = [{"VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, share))} for share in shares]
    options: tuple[str, ...] = ()
    if layout == "data-parallel":
        # With pinning, all parts of one engine would share the same cores.
        threads = str(max(1, len(cores) // count))
        bindings = [{"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": threads}]
        options = ("--data-parallel-size", str(count))
    return [
        start_engine(TINY, folder / f"engine{number}.log", *options, environ=binding)
        for number, binding in enumerate(bindings)
    ]


@contextlib.contextmanager
def serving(layout: str, cores: list[int], count: int, folder: Path) -> Iterator[str]:
    """Start a layout and its proxy; yield the proxy's base URL."""
    with contextlib.ExitStack() as parts:

        def start(engine: Engine) -> str:
            return parts.enter_context(engine)

        starting = engines(layout, cores, count, folder)
        with ThreadPoolExecutor(len(starting)) as threads:
            urls = list(threads.map(start, starting))
        if layout == "replicas":
            urls = [parts.enter_context(start_nginx(urls, folder))]
        proxy = proxy_process(folder / "proxy.log", ASR_BASE_URL=urls[0], TTS_MODEL_TYPE="off")
        yield parts.enter_context(proxy)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare replicas with one engine on all cores.")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a clip")
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=LAYOUTS)
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if args.replicas > len(cores):
        parser.error(
            f"{args.replicas} replicas need {args.replicas} cores; this machine has {len(cores)}"
        )
    composer = Composer(Synthesizer(), 777, held_out=True)
    warm_up = [composer.recording(5, 1) for _ in range(2 * args.replicas)]
    clips = [composer.recording(args.seconds, 2) for _ in range(args.clips)]
    figures: dict[str, float] = {}
    for layout in args.layouts:
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            with serving(layout, cores, args.replicas, Path(folder)) as url:
                ready = time.monotonic() - started
                measure(url, warm_up, len(warm_up))
                seconds, score = measure(url, clips, args.clients)
        figures[layout] = sum(clip.duration for clip in clips) / seconds
        print(
            f"{layout}: {len(cores)} cores, {args.clients} clients, {len(clips)} clips of "
            f"{args.seconds:g} s: {figures[layout]:.2f}x real time; {score}; "
            f"ready after {ready:.0f} s",
            flush=True,
        )
    first, *others = args.layouts
    for layout in others:
        print(f"{layout} / {first} = {figures[layout] / figures[first]:.2f}")


if __name__ == "__main__":
    main()
