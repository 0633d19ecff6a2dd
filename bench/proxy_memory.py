"""Measures the proxy's memory for long recordings, by container.

    python -m bench.proxy_memory --minutes 60 --at-once 1 8

For each case, starts the proxy with an engine that answers immediately and uploads the same file
several times in parallel. Prints the peak growth of the proxy's resident memory (`VmHWM`, Linux),
in total and per upload, and how long a single request takes compared with the `ffmpeg` program, if
installed, decoding the same file to mono 24 kHz.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import av
import httpx2
import numpy as np
from av.audio.stream import AudioStream
from tests.support.fakes import TRANSCRIPTIONS
from tests.support.recordings import tone, wav

from bench.servers import fake_engine, log_file

CONTAINERS = {
    "wav": ("wav", "pcm_s16le"),
    "flac": ("flac", "flac"),
    "mp3": ("mp3", "libmp3lame"),
    "m4a": ("ipod", "aac"),
    "webm": ("webm", "libopus"),
    "ogg": ("ogg", "libopus"),
}
"""Name → container and codec; m4a has its index at the end."""


def write(path: Path, container: str, codec: str, minutes: float, rate: int) -> None:
    """Write a recording of tone and noise, one second at a time."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", format=container) as output:
        stream = cast(AudioStream, output.add_stream(codec, rate=rate, layout="mono"))
        resampler = av.AudioResampler(
            stream.format, "mono", rate, frame_size=stream.frame_size or 1024
        )
        for _ in range(round(minutes * 60)):
            samples = tone(1.0, rate) + rng.normal(0, 0.01, rate).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate = rate
            for resampled in resampler.resample(frame):
                output.mux(stream.encode(resampled))
        for resampled in resampler.resample(None):
            output.mux(stream.encode(resampled))
        output.mux(stream.encode(None))


def highest(pid: int) -> float:
    """Peak resident memory so far, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def upload(url: str, path: Path) -> float:
    """Seconds for one transcription; the file is read while it is sent."""
    head = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'

    def body() -> Iterator[bytes]:
        yield head
        with path.open("rb") as file:
            while block := file.read(1 << 16):
                yield block
        yield b"\r\n--x--\r\n"

    started = time.monotonic()
    answer = httpx2.post(
        url + TRANSCRIPTIONS,
        content=body(),
        headers={"content-type": "multipart/form-data; boundary=x"},
        timeout=3600,
    )
    answer.raise_for_status()
    return time.monotonic() - started


def decoded_by_ffmpeg(path: Path) -> float | None:
    """Seconds that the `ffmpeg` program takes; None if it is not installed."""
    if not (program := shutil.which("ffmpeg")):
        return None
    target = ["-ac", "1", "-ar", "24000", "-f", "s16le", "-y", os.devnull]
    started = time.monotonic()
    subprocess.run([program, "-loglevel", "error", "-i", path, *target], check=True)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the proxy's memory for long recordings.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=int, default=48_000, help="Hz")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--containers", nargs="+", choices=list(CONTAINERS), default=[*CONTAINERS])
    options = parser.parse_args()
    warm = wav(tone(1.0))
    with tempfile.TemporaryDirectory() as folder:
        for name in options.containers:
            path = Path(folder) / name
            write(path, *CONTAINERS[name], options.minutes, options.rate)
            size = path.stat().st_size / 2**20
            for count in options.at_once:
                log = log_file("proxy-memory")
                with (
                    fake_engine(log, VIBEVOICE_DECODE_TIMEOUT="3600") as (url, _, proxy),
                    ThreadPoolExecutor(count) as clients,
                ):
                    httpx2.post(url + TRANSCRIPTIONS, files={"file": ("a", warm)})
                    before = proxy.memory_info().rss / 2**20
                    seconds = list(clients.map(upload, [url] * count, [path] * count))
                    growth = highest(proxy.pid) - before
                print(
                    f"{name:5} {options.minutes:g} min, {size:6.1f} MiB, {count} at once: "
                    f"{before:.0f} MiB + {growth:.0f} = {growth / count:.0f} each, "
                    f"{max(seconds):.1f} s",
                    flush=True,
                )
            if seconds := decoded_by_ffmpeg(path):
                print(f"{name:5} decoded by ffmpeg: {seconds:.1f} s", flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
