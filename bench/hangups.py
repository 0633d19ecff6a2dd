"""Measures how soon the engine stops working for clients that disconnected.

    python -m bench.hangups --times 20

Starts the engine and the proxy on the embedded checkpoint. In each round, several clients upload a
recording of some minutes and then disconnect together, at a random moment after the engine has
started on it. The engine's metrics are then polled until no request is running or waiting, and the
seconds are printed.
"""

import argparse
import random
import statistics
import time
from pathlib import Path

from tests.support.engine import in_engine
from tests.support.processes import wait_for
from tests.support.uploads import start_upload

from bench.clips import clip
from bench.servers import log_file, real_engine


def until(engine: str, wanted: int) -> float:
    """Seconds until the engine has exactly `wanted` requests."""
    started = time.monotonic()
    wait_for(lambda: in_engine(engine) == wanted, 120)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how soon hang-ups reach the engine.")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--clients", type=int, default=4, help="that disconnect together")
    parser.add_argument("--seconds", type=float, default=180, help="length of a recording")
    parser.add_argument("--log", type=Path, default=log_file("hangups"))
    options = parser.parse_args()
    chance = random.Random(0)
    with real_engine(options.log) as (url, engine, _):
        taken: list[float] = []
        for number in range(options.times):
            seeds = range(number * options.clients, (number + 1) * options.clients)
            recordings = [clip(seed, options.seconds, "two-speakers") for seed in seeds]
            uploads = [start_upload(url, recording) for recording in recordings]
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
