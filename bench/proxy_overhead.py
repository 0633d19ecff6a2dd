"""Measures the proxy's overhead: the same requests directly to the engine and through the proxy.

    python -m bench.proxy_overhead --clients 1 --pairs 24
    python -m bench.proxy_overhead --clients 16 64
    python -m bench.proxy_overhead --seconds 6.8
    python -m bench.proxy_overhead --engine-seconds 2

The engine receives directly what the proxy would send: a streamed chat completion with the
recording as a WAV data: URL. Runs are paired, alternating which goes first. The ratio is the
geometric mean of proxied to direct throughput; on a machine with other load, trust the processor
time instead. The engine is the real one on the embedded checkpoint or, with `--engine-seconds`, a
fake that takes that long per answer and no processor time. Noise makes every clip new, because the
engine caches what it has encoded.
"""

import argparse
import base64
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx2

from bench.clips import clip
from bench.servers import fake_engine, log_file, processor_seconds, real_engine
from vibevoice_proxy.transcription.chat import Attempt, chat_request, max_answer_tokens

# Every request has its own connection, so neither path can be delayed by stale ones.
CONNECTIONS = httpx2.Limits(max_connections=None, max_keepalive_connections=0)


def straight(client: httpx2.Client, engine: str, seconds: float, recording: bytes) -> None:
    """One transcription directly by the engine, of a recording of `seconds` seconds."""
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
    """Transcriptions per second."""
    with ThreadPoolExecutor(clients) as pool:
        started = time.monotonic()
        list(pool.map(send, recordings))
        return len(recordings) / (time.monotonic() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the proxy's overhead.")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--seconds", type=float, default=30, help="length of a recording, up to 30")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--requests", type=int, default=2, help="per client in a run")
    parser.add_argument("--engine-seconds", type=float, help="fake engine: seconds per answer")
    parser.add_argument("--log", type=Path, default=log_file("proxy-overhead"))
    options = parser.parse_args()
    number = 0
    fake, log = options.engine_seconds, options.log
    started = real_engine(log) if fake is None else fake_engine(log, fake)
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
                f"{clients:3} clients: proxied / direct = {mean:.3f} ({runs}), "
                f"up to {fastest:.1f} requests per second, "
                f"{cost / options.pairs:.1f} ms of processor time in the proxy for each",
                flush=True,
            )


if __name__ == "__main__":
    main()
