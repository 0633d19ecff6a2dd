"""Transcribes recordings of 1, 10, and 60 minutes: time, memory, and accuracy.

    python -m bench.long_audio --minutes 1 10 --section-seconds 60

Every process is sampled five times a second during a request: `peak` is the maximum resident memory
of each during that request, and `before` is its memory just before.
"""

import argparse
import threading
import time

import httpx2
import psutil
from training.tiny_asr.espeak import Synthesizer
from training.tiny_asr.evaluate import Score, flac
from training.tiny_asr.recordings import Composer, Recording

from bench.servers import log_file, real_engine

MIB = 2**20


def role(process: psutil.Process) -> str:
    """The role of a process in the stack."""
    line = " ".join(process.cmdline())
    for mark, name in (
        ("vibevoice_proxy", "proxy"),
        ("EngineCore", "engine core"),
        ("Worker", "engine worker"),
        ("vibevoice_vllm.engine", "engine front end"),
    ):
        if mark in line or mark in process.name():
            return name
    return "other"


class Memory:
    """Resident MiB of the stack's processes by role, sampled while entered."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.before = self.now()
        self.peak = dict(self.before)

    def now(self) -> dict[str, float]:
        held: dict[str, float] = {}
        for process in psutil.Process().children(recursive=True):
            try:
                name = role(process)
                held[name] = held.get(name, 0.0) + process.memory_info().rss / MIB
            except psutil.NoSuchProcess:
                continue
        return held

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            for name, held in self.now().items():
                self.peak[name] = max(self.peak.get(name, 0.0), held)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def by_minute(recording: Recording, heard: list[dict], minutes: list[float]) -> str:
    """Word error rate of the first minutes, for each of `minutes`."""
    figures = []
    for limit in minutes:
        if limit * 60 > recording.duration + 30:
            break
        score = Score()
        segments = tuple(s for s in recording.segments if s.start < limit * 60)
        score.add(
            Recording(recording.samples, segments, recording.voices),
            [s for s in heard if s["start"] < limit * 60],
        )
        figures.append(f"{limit:g} min {score.errors / max(score.words, 1):.1%}")
    return ", ".join(figures)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure long recordings.")
    parser.add_argument("--minutes", type=float, nargs="*", default=[1, 10, 60])
    parser.add_argument(
        "--section-seconds",
        default="3600",
        help="cut longer recordings, as `make serve` does at 60 (default: %(default)s)",
    )
    args = parser.parse_args()
    log, most = log_file("long-audio"), args.section_seconds
    with real_engine(log, VIBEVOICE_MAX_SECTION_SECONDS=most) as (url, *_):
        for minutes in args.minutes:
            composer = Composer(Synthesizer(), 777, held_out=True)
            recording = composer.recording(minutes * 60, 2)
            upload = flac(recording)
            with Memory() as memory:
                started = time.monotonic()
                answer = httpx2.post(
                    f"{url}/v1/audio/transcriptions",
                    files={"file": upload},
                    data={"response_format": "diarized_json"},
                    timeout=7200,
                )
                seconds = time.monotonic() - started
            print(
                f"{minutes:g} min ({len(upload) / MIB:.1f} MiB FLAC): status {answer.status_code}, "
                f"{seconds:.1f} s = {recording.duration / seconds:.1f}x real time",
                flush=True,
            )
            for name, peak in sorted(memory.peak.items()):
                before = memory.before.get(name, 0.0)
                print(f"  {name}: before {before:.0f}, peak {peak:.0f} MiB ({peak - before:+.0f})")
            if answer.status_code == 200:
                body = answer.json()
                heard = body["segments"]
                print(
                    f"  duration {body['duration']:.1f} s, {len(heard)} segments of "
                    f"{len(recording.segments)}, usage {body['usage']}\n"
                    f"  WER of the first {by_minute(recording, heard, [1, 2, 3, 4, 6, 10, 60])}",
                    flush=True,
                )
            else:
                print(f"  {answer.text[:500]}")


if __name__ == "__main__":
    main()
