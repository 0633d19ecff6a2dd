"""Measures the page in Chromium: its first visit, and an hour-long recording.

    .venv/bin/python -m bench.page http://127.0.0.1:8899

The recording is samples/conversation.flac repeated, as MP3 at 64 kbit/s. The script uploads it in
the Transcribe view of a running proxy, plays it, and prints a table.
"""

import argparse
import io
import tempfile
from pathlib import Path
from time import monotonic
from typing import Any

import av
import numpy as np
import psutil
import soundfile
from playwright.sync_api import CDPSession, Page, sync_playwright

SAMPLE = Path(__file__).parents[1] / "samples" / "conversation.flac"
MIB = 1024 * 1024
WATCHED_SECONDS = 10
FRAMES = """seconds => new Promise(resolve => {
  const times = [];
  const note = time => {
    times.push(time);
    if (time - times[0] < 1000 * seconds) return requestAnimationFrame(note);
    const gaps = times.slice(1).map((value, index) => value - times[index]);
    resolve({ rate: gaps.length / (times.at(-1) - times[0]) * 1000, longest: Math.max(...gaps) });
  };
  requestAnimationFrame(note);
})"""
"""Frames per second, and the longest time between two frames in milliseconds."""
SCROLL = """async () => {
  const page = document.documentElement;
  for (let at = 0; at < page.scrollHeight; at += page.scrollHeight / 400) {
    page.scrollTop = at;
    await new Promise(requestAnimationFrame);
  }
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the page in Chromium.")
    parser.add_argument("url", help="base URL of a running proxy")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        recording = Path(folder) / "hour.mp3"
        recording.write_bytes(_recording(60 * arguments.minutes))
        browser = playwright.chromium.launch(executable_path=arguments.chromium)
        try:
            page = browser.new_page(viewport={"width": 1200, "height": 900})
            page.set_default_timeout(3_600_000)
            devtools = page.context.new_cdp_session(page)
            print("| | |\n|---|---|")
            _first_visit(page, devtools, arguments.url)
            _long_recording(page, devtools, recording)
        finally:
            browser.close()


def _first_visit(page: Page, devtools: CDPSession, url: str) -> None:
    sizes: list[float] = []
    devtools.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    devtools.send("Network.enable")
    page.goto(url)
    page.get_by_role("button", name="Choose files").wait_for()
    usable = page.evaluate("performance.now()")
    page.wait_for_load_state("networkidle")
    _row("first visit, with headers", f"{sum(sizes) / 1024:.0f} KiB in {len(sizes)} answers")
    _row("until files can be chosen", f"{usable:.0f} ms")
    _row("memory of the page then", _memory(page, devtools))


def _long_recording(page: Page, devtools: CDPSession, recording: Path) -> None:
    started = monotonic()
    page.locator(".drop input[type=file]").set_input_files(recording)
    page.locator(".segment").first.wait_for()
    _row("an hour: first segment after", f"{monotonic() - started:.1f} s")
    page.locator(".waveform canvas").first.wait_for(state="attached")
    _row("waveform after", f"{monotonic() - started:.1f} s")
    waiting = page.evaluate(FRAMES, WATCHED_SECONDS)
    _row("while it is transcribed", _frames(waiting))
    page.locator(".job .state", has_text="Done").wait_for()
    segments = page.locator(".segment").count()
    _row("transcript after", f"{monotonic() - started:.0f} s, {segments} segments")
    devtools.send("HeapProfiler.collectGarbage")
    _row("memory of the page with it", _memory(page, devtools))
    page.locator(".segment .time").nth(segments // 2).click()
    _row("while it plays and is followed", _frames(page.evaluate(FRAMES, WATCHED_SECONDS)))
    page.evaluate(f"{{const frames = {FRAMES}; window.measured = frames(5)}}")
    page.evaluate(SCROLL)
    _row("while scrolling through all of it", _frames(page.evaluate("window.measured")))
    begun = monotonic()
    page.get_by_label("Search the transcript").fill("representative")
    page.locator(".hits", has_text="1 of").wait_for()
    _row("search", f"{1000 * (monotonic() - begun):.0f} ms")


def _memory(page: Page, devtools: CDPSession) -> str:
    """Memory of the JavaScript heap and of the renderer process."""
    devtools.send("Performance.enable")
    metrics = {
        one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]
    }
    renderers = [
        process
        for process in psutil.Process().children(recursive=True)
        if "--type=renderer" in process.cmdline()
    ]
    resident = max(process.memory_info().rss for process in renderers)
    return f"{metrics['JSHeapUsedSize'] / MIB:.1f} MiB of objects, process {resident / MIB:.0f} MiB"


def _frames(measured: dict[str, Any]) -> str:
    return f"{measured['rate']:.0f} frames a second, longest wait {measured['longest']:.0f} ms"


def _row(name: str, value: str) -> None:
    print(f"| {name} | {value} |", flush=True)


def _recording(seconds: float) -> bytes:
    read, rate = soundfile.read(SAMPLE, dtype="int16")
    samples = read.astype(np.int16)
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as output:
        stream = output.add_stream("libmp3lame", rate=rate, layout="mono")
        stream.bit_rate = 64_000
        fifo = av.AudioFifo()
        for _ in range(round(seconds * rate / len(samples))):
            frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
            frame.sample_rate = rate
            fifo.write(frame)
            while part := fifo.read(stream.frame_size or 1152):
                output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return file.getvalue()


if __name__ == "__main__":
    main()
