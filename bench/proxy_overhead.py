"""What the proxy costs: the same requests straight to the engine and through the proxy.

    python bench/proxy_overhead.py --clients 1 --pairs 24
    python bench/proxy_overhead.py --clients 16 64
    python bench/proxy_overhead.py --seconds 6.8
    python bench/proxy_overhead.py --engine-seconds 2

Straight to the engine goes what the proxy would send it: a chat completion with the recording as a
WAV data: URL, streamed. Runs are paired and in turn first and second; the ratio is the geometric
mean of proxied by straight throughput; on a machine that is busy otherwise, trust the processor
time. The engine is the real one on the embedded checkpoint, or,
with `--engine-seconds`, one that takes so long for each answer and no processor time at all. Every
clip is new (noise is added), since the engine keeps what it has encoded.
"""

import argparse
import base64
import contextlib
import io
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx2
import numpy as np
import psutil
import soundfile

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / path) for path in (".", "scripts", "proxy")]

from demo import free_port  # noqa: E402
from serve import EMBEDDED, stack, wait_until_ready  # noqa: E402

from vibevoice_proxy.prompt import Attempt, chat_request, max_answer_tokens  # noqa: E402

LOG = Path(tempfile.gettempdir()) / "vibevoice-bench-proxy-overhead.log"
# Every request has a connection of its own, so that no way has stale ones to stumble over.
CONNECTIONS = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
RATE = 24_000


def clip(number: int, seconds: float) -> bytes:
    """A recording like no other, as WAV: a sample of 6.8 s again and again."""
    speech, _ = soundfile.read(ROOT / "samples" / "one-speaker.wav", dtype="float32")
    noise = np.random.default_rng(number).normal(0, 1e-4, int(seconds * RATE))
    file = io.BytesIO()
    soundfile.write(file, np.resize(speech, len(noise)) + noise, RATE, "PCM_16", format="WAV")
    return file.getvalue()


def straight(client: httpx2.Client, engine: str, seconds: float, recording: bytes) -> None:
    """One transcription by the engine, of a recording of so many seconds."""
    attempt = Attempt(max_answer_tokens(seconds))
    head, tail = chat_request("vibevoice", seconds, "", "audio/wav", attempt)
    answer = client.post(
        f"{engine}/v1/chat/completions",
        content=head + base64.b64encode(recording) + tail,
        headers={"content-type": "application/json"},
    )
    answer.raise_for_status()
    assert "[DONE]" in answer.text


def proxied(client: httpx2.Client, proxy: str, recording: bytes) -> None:
    """One transcription through the proxy."""
    answer = client.post(f"{proxy}/v1/audio/transcriptions", files={"file": ("a", recording)})
    answer.raise_for_status()
    assert answer.json()["text"]


def throughput(send: Callable[[bytes], None], recordings: list[bytes], clients: int) -> float:
    """Transcriptions a second."""
    with ThreadPoolExecutor(clients) as pool:
        started = time.monotonic()
        list(pool.map(send, recordings))
        return len(recordings) / (time.monotonic() - started)


@contextlib.contextmanager
def slow_engine(seconds: float) -> Iterator[tuple[str, str, psutil.Process]]:
    """Proxy and engine URL and the proxy's process, before an engine that only waits."""
    engine, proxy = free_port(), free_port()
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, sys.path)),
        "API_PORT": str(proxy),
        "ASR_PORT": str(engine),
        "VIBEVOICE_LOG_LEVEL": "ERROR",
    }
    commands = [["tests.fakes", str(engine), str(seconds)], ["vibevoice_proxy"]]
    parts = [
        subprocess.Popen([sys.executable, "-m", *command], env=environ) for command in commands
    ]
    urls = f"http://127.0.0.1:{proxy}", f"http://127.0.0.1:{engine}"
    try:
        wait_until_ready(f"{urls[0]}/health", parts[1], seconds=60)
        yield *urls, psutil.Process(parts[1].pid)
    finally:
        for part in parts:
            part.kill()
            part.wait()


@contextlib.contextmanager
def real_engine(log: Path) -> Iterator[tuple[str, str, psutil.Process]]:
    """Proxy and engine URL and the proxy's process, on the embedded checkpoint."""
    proxy, engine = free_port(), free_port()
    with stack(EMBEDDED, proxy, engine, log) as parts:
        urls = f"http://127.0.0.1:{proxy}", f"http://127.0.0.1:{engine}"
        yield *urls, psutil.Process(parts[1].pid)


def processor_seconds(process: psutil.Process) -> float:
    """Processor time taken so far."""
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    parser = argparse.ArgumentParser(description="What the proxy costs.")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--seconds", type=float, default=30, help="length of a recording, up to 30")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--requests", type=int, default=2, help="of each client in a run")
    parser.add_argument("--engine-seconds", type=float, help="fake engine, seconds for an answer")
    parser.add_argument("--log", type=Path, default=LOG)
    options = parser.parse_args()
    number = 0
    fake = options.engine_seconds
    started = real_engine(options.log) if fake is None else slow_engine(fake)
    with (
        started as (proxy, engine, process),
        httpx2.Client(timeout=600, limits=CONNECTIONS) as client,
    ):
        ways = {
            "straight": partial(straight, client, engine, options.seconds),
            "proxied": partial(proxied, client, proxy),
        }
        for send in ways.values():
            throughput(send, [clip(-1 % 2**32, options.seconds)], 1)
        for clients in options.clients:
            count = clients * options.requests
            ratios = []
            fastest = 0.0
            before = processor_seconds(process)
            for pair in range(options.pairs):
                rates = {}
                for way in list(ways)[:: 1 if pair % 2 else -1]:
                    recordings = [clip(number + n, options.seconds) for n in range(count)]
                    number += count
                    rates[way] = throughput(ways[way], recordings, clients)
                fastest = max(fastest, *rates.values())
                ratios.append(rates["proxied"] / rates["straight"])
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            runs = " ".join(f"{ratio:.3f}" for ratio in ratios)
            cost = (processor_seconds(process) - before) / count * 1000
            print(
                f"{clients:3} clients: proxied / straight = {mean:.3f} ({runs}), "
                f"up to {fastest:.1f} requests a second, "
                f"{cost / options.pairs:.1f} ms of processor time in the proxy for each",
                flush=True,
            )


if __name__ == "__main__":
    main()
