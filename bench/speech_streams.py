"""Measures how fast the proxy answers `/health/live` while it streams speech to many clients.

    python -m bench.speech_streams --streams 16

The proxy uses eSpeak NG. The proxy and each client run in separate processes.
"""

import argparse
import json
import os
import subprocess
import time

import httpx2
import numpy as np
from tests.support.processes import proxy_process

from bench.servers import log_file

TEXT = "The birch canoe slid on the smooth planks while the sun rose over the quiet lake. " * 20


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the proxy's latency while it speaks.")
    parser.add_argument("--streams", type=int, default=16)
    options = parser.parse_args()
    body = json.dumps({"model": "tts-1", "voice": "alloy", "input": TEXT})
    command = ["curl", "-sf", "-o", os.devnull, "-w", "%{time_starttransfer} %{size_download}\n"]
    command += ["-H", "content-type: application/json", "-d", body]
    log = log_file("speech-streams")
    with proxy_process(log, ASR_API="off", TTS_MODEL_TYPE="espeak") as (_, url):
        command += [f"{url}/v1/audio/speech"]
        with httpx2.Client(base_url=url, timeout=30) as client:
            client.get("/health/live").raise_for_status()
            clients = [
                subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
                for _ in range(options.streams)
            ]
            delays: list[float] = []
            while any(client.poll() is None for client in clients):
                started = time.perf_counter()
                client.get("/health/live").raise_for_status()
                delays.append(time.perf_counter() - started)
                time.sleep(0.005)
        answers = [client.communicate()[0].split() for client in clients]
        complete = sum(client.returncode == 0 for client in clients)
        first = max(float(seconds) for seconds, _ in answers)
        sizes = {int(size) for _, size in answers}
        p50, p99 = 1000 * np.quantile(delays, [0.5, 0.99])
        print(
            f"{complete} of {options.streams} streams complete ({min(sizes)} to {max(sizes)} bytes "
            f"of mp3), first bytes after at most {first:.2f} s; {len(delays)} health checks: "
            f"median {p50:.1f} ms, p99 {p99:.1f} ms, at most {1000 * max(delays):.1f} ms"
        )


if __name__ == "__main__":
    main()
