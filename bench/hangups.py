"""How soon the engine stops working for clients that hung up.

    python bench/hangups.py --times 20

starts engine and proxy on the embedded checkpoint. Each time some clients upload a recording of
minutes and vanish, all at once, at a random moment after the engine has begun; then the engine's
own metrics are read until no request runs or waits there any more, and the seconds are printed.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / path) for path in (".", "scripts")]

from demo import free_port  # noqa: E402
from serve import EMBEDDED, stack  # noqa: E402
from tests.engine import in_engine  # noqa: E402
from tests.processes import wait_for  # noqa: E402
from tests.recordings import wav  # noqa: E402
from tests.uploads import start_upload  # noqa: E402

LOG = Path(tempfile.gettempdir()) / "vibevoice-bench-hangups.log"


def minutes(number: int, seconds: float) -> bytes:
    """A recording like no other (the engine keeps what it has encoded), as WAV."""
    speech, rate = soundfile.read(ROOT / "samples" / "two-speakers.wav", dtype="float32")
    samples = np.tile(speech, int(seconds * rate / len(speech)) + 1)
    noise = np.random.default_rng(number).normal(0, 1e-3, len(samples))
    return wav((samples + noise).astype(np.float32), rate)


def until(engine: str, wanted: int) -> float:
    """Seconds until the engine has `wanted` requests."""
    started = time.monotonic()
    wait_for(lambda: in_engine(engine) == wanted, 120)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description="How soon hang-ups reach the engine.")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--clients", type=int, default=4, help="that hang up together")
    parser.add_argument("--seconds", type=float, default=180, help="of a recording")
    parser.add_argument("--log", type=Path, default=LOG)
    options = parser.parse_args()
    port, engine_port = free_port(), free_port()
    engine = f"http://127.0.0.1:{engine_port}"
    chance = random.Random(0)
    url = f"http://127.0.0.1:{port}"
    with stack(EMBEDDED, port, engine_port, options.log):
        taken: list[float] = []
        for number in range(options.times):
            seeds = range(number * options.clients, (number + 1) * options.clients)
            uploads = [start_upload(url, minutes(seed, options.seconds)) for seed in seeds]
            until(engine, options.clients)
            time.sleep(chance.uniform(0, 3))
            for upload in uploads:
                upload.close()
            taken.append(until(engine, 0))
            print(f"{number + 1:3}: idle after {taken[-1]:.2f} s", flush=True)
        print(
            f"{options.clients} clients, {options.times} times: idle after "
            f"{statistics.median(taken):.2f} s (median), {max(taken):.2f} s at most"
        )


if __name__ == "__main__":
    main()
