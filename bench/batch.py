"""The batch client against a plain loop of curl: `find | xargs -P | curl`, side by side.

    python bench/batch.py --files 40 --processes 1 8
    python bench/batch.py --files 1000 --engine-seconds 0.2 --processes 8 32

Each way transcribes as many clips, in turn first and second; the ratio is that of audio per second.
The engine is the real one on the embedded checkpoint, or, with `--engine-seconds`, one that takes
so long for each answer and no processor time. Every clip is new (noise is added), since the engine
keeps what it has encoded.
"""

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / path) for path in ("bench", "batch")]

from proxy_overhead import clip, real_engine, slow_engine  # noqa: E402

CLIP_SECONDS = 6.8
LOG = Path(tempfile.gettempdir()) / "vibevoice-bench-batch.log"


def curl(folder: Path, url: str, processes: int) -> str:
    """The loop that one would type."""
    subprocess.run(
        f"find {folder} -name '*.wav' -print0 | xargs -0 -P {processes} -I '{{}}' curl -sf "
        f"-F file=@'{{}}' -F response_format=srt -o '{{}}.srt' {url}/v1/audio/transcriptions",
        shell=True,
        check=True,
    )
    return f"xargs -P {processes} curl"


def batch(folder: Path, url: str) -> str:
    """The client, with the concurrency that it finds."""
    command = [sys.executable, "-m", "vibevoice_batch", folder, "-o", folder / "transcripts"]
    environ = {
        **os.environ,
        "VIBEVOICE_BASE_URL": f"{url}/v1",
        "PYTHONPATH": os.pathsep.join(map(str, sys.path)),
    }
    ran = subprocess.run(
        [*map(str, command), "--format", "srt"],
        env=environ,
        check=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    at_once = re.findall(r"(\d+) at once", ran.stderr)
    return "vibevoice-transcribe" + (f" (at last {at_once[-1]} at once)" if at_once else "")


def main() -> None:
    parser = argparse.ArgumentParser(description="The batch client against a loop of curl.")
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--processes", type=int, nargs="+", default=[8], help="of xargs")
    parser.add_argument("--engine-seconds", type=float, help="fake engine, seconds for an answer")
    parser.add_argument("--log", type=Path, default=LOG)
    options = parser.parse_args()
    fake = options.engine_seconds
    numbers = itertools.count(int(time.time()))
    audio = options.files * CLIP_SECONDS
    with real_engine(options.log) if fake is None else slow_engine(fake) as (url, *_):
        for round in range(1, options.rounds + 1):
            rates = {}
            ways = [None, *options.processes]
            for processes in ways[:: 1 if round % 2 else -1]:
                with tempfile.TemporaryDirectory() as name:
                    for number in itertools.islice(numbers, options.files):
                        (Path(name) / f"{number}.wav").write_bytes(clip(number, CLIP_SECONDS))
                    started = time.monotonic()
                    way = curl(Path(name), url, processes) if processes else batch(Path(name), url)
                    seconds = time.monotonic() - started
                    written = len(list(Path(name).rglob("*.srt")))
                if written != options.files:
                    sys.exit(f"{way}: {written} of {options.files} transcripts")
                rates[processes] = audio / seconds
                print(
                    f"round {round}: {way}: {options.files} files in {seconds:.1f} s = "
                    f"{rates[processes]:.1f} h of audio an hour",
                    flush=True,
                )
            for processes in options.processes:
                ratio = rates[None] / rates[processes]
                print(f"round {round}: client / xargs -P {processes} = {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
