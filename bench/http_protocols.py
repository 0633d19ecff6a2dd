"""Compares HTTP implementations: uvicorn's httptools and this project's h11.

    python -m bench.http_protocols

Both serve the same application in separate processes, alternately, with one client on one
connection: a small request repeatedly, and uploads of 200 MB that are not a recording.
"""

import argparse
import statistics
import subprocess
import sys
import time

import httpx2
import psutil
from scripts.stack import ROOT, free_port, wait_until_ready

from bench.servers import processor_seconds

SERVER = """
import sys, uvicorn
from vibevoice_proxy.app import create_app
from vibevoice_proxy.http_protocol import HttpProtocol
from vibevoice_proxy.settings import Settings
app = create_app(Settings(asr_base_url="http://127.0.0.1:9", tts_model_type="off"))
http = HttpProtocol if sys.argv[1] == "h11" else "httptools"
uvicorn.run(app, port=int(sys.argv[2]), http=http, log_level="error", access_log=False)
"""


def measure(protocol: str, requests: int, megabytes: int) -> tuple[float, float, float, float]:
    """(seconds, processor seconds) of a small request, and the same of an upload."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, "-c", SERVER, protocol, str(port)], cwd=ROOT)
    try:
        wait_until_ready(f"{url}/health/live", process, seconds=60)
        server = psutil.Process(process.pid)
        with httpx2.Client(base_url=url, timeout=120) as client:
            started, before = time.monotonic(), processor_seconds(server)
            for _ in range(requests):
                client.get("/health/live")
            small = time.monotonic() - started, processor_seconds(server) - before
            body = bytes(megabytes * 1_000_000)
            started, before = time.monotonic(), processor_seconds(server)
            answer = client.post("/v1/audio/transcriptions", files={"file": ("a", body)})
            assert answer.status_code == 400, answer.text
            large = time.monotonic() - started, processor_seconds(server) - before
    finally:
        process.terminate()
        process.wait()
    return small[0] / requests, small[1] / requests, *large


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare HTTP implementations.")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float, float, float]]] = {"httptools": [], "h11": []}
    for _ in range(options.rounds):
        for protocol, figures in found.items():
            figures.append(measure(protocol, options.requests, options.megabytes))
    for protocol, figures in found.items():
        small, small_cpu, large, large_cpu = map(statistics.median, zip(*figures, strict=True))
        print(
            f"{protocol:9}: small request {small * 1000:.2f} ms ({small_cpu * 1000:.2f} ms of "
            f"processor time), upload of {options.megabytes} MB {large:.2f} s ({large_cpu:.2f} s)"
        )


if __name__ == "__main__":
    main()
