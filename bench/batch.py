"""Compares the batch client with a plain curl loop: `find | xargs -P | curl`.

    python -m bench.batch --files 40 --processes 1 8
    python -m bench.batch --files 1000 --engine-seconds 0.2 --processes 8 32

Both transcribe the same number of clips, alternating which goes first; the ratio is that of audio
per second. The engine is the real one on the embedded checkpoint or, with `--engine-seconds`, a
fake that takes that long per answer and no processor time. Noise makes every clip new, because the
engine caches what it has encoded.
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

from scripts.stack import ROOT

from bench.clips import clip
from bench.servers import fake_engine, log_file, real_engine

CLIP_SECONDS = 6.8


def curl(folder: Path, url: str, processes: int) -> str:
    """Run the shell loop that a user would write."""
    subprocess.run(
        f"find {folder} -name '*.wav' -print0 | xargs -0 -P {processes} -I '{{}}' curl -sf "
        f"-F file=@'{{}}' -F response_format=srt -o '{{}}.srt' {url}/v1/audio/transcriptions",
        shell=True,
        check=True,
    )
    return f"xargs -P {processes} curl"


def batch(folder: Path, url: str) -> str:
    """Run the client with its automatic concurrency."""
    command = [sys.executable, "-m", "vibevoice_batch", folder, "-o", folder / "transcripts"]
    ran = subprocess.run(
        [*map(str, command), "--format", "srt"],
        cwd=ROOT,
        env={**os.environ, "VIBEVOICE_BASE_URL": f"{url}/v1"},
        check=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    at_once = re.findall(r"(\d+) at once", ran.stderr)
    return "vibevoice-transcribe" + (f" ({at_once[-1]} at once at the end)" if at_once else "")


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the batch client with a curl loop.")
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--processes", type=int, nargs="+", default=[8], help="of xargs")
    parser.add_argument("--engine-seconds", type=float, help="fake engine: seconds per answer")
    parser.add_argument("--log", type=Path, default=log_file("batch"))
    options = parser.parse_args()
    numbers = itertools.count(int(time.time()))
    audio = options.files * CLIP_SECONDS
    fake, log = options.engine_seconds, options.log
    with real_engine(log) if fake is None else fake_engine(log, fake) as (url, *_):
        for turn in range(1, options.rounds + 1):
            rates = {}
            ways = [None, *options.processes]
            for processes in ways[:: 1 if turn % 2 else -1]:
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
                    f"round {turn}: {way}: {options.files} files in {seconds:.1f} s = "
                    f"{rates[processes]:.1f} h of audio per hour",
                    flush=True,
                )
            for processes in options.processes:
                ratio = rates[None] / rates[processes]
                print(f"round {turn}: client / xargs -P {processes} = {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
