"""A run of `bench.gpu`: its measurements, its time limit, and its results."""

import contextlib
import math
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from scripts.stack import ROOT, PartEnded, free_port, stack

from bench.engine_requests import EngineRefused, OutOfTime
from bench.gpu_load import Ask, hour, sweep, to_engine, to_proxy, warm_up
from bench.gpu_machine import memory_gib
from bench.gpu_results import Results, Speech, Start
from bench.gpu_settings import DEFAULT, Model, Setting, Unavailable
from bench.servers import log_file


@dataclass(frozen=True)
class Sizes:
    """The amounts to measure."""

    clients: Sequence[int] = (1, 8, 32, 64)
    compared: Sequence[int] = (32,)
    """Number of clients with which settings are compared."""
    rounds: int = 2
    """Clips per client."""
    clip_seconds: float = 30.0
    clip_tokens: int = 200
    """Roughly the number for 30 s of speech with its JSON."""
    hour_seconds: float = 3600.0
    hour_tokens: int = 24_000
    streams: Sequence[int] = (1, 2, 4, 8, 16)
    frames: int = 20


SHORT = Sizes((1, 2), (2,), 1, 4.0, 8, 20.0, 16, (1,), 1)
"""Sizes for a rehearsal."""


class Bench:
    """A run with its results and its time limit.

    Args:
        base: environment for every engine.
        seconds: time limit from now on.
    """

    def __init__(
        self, results: Results, file: Path, sizes: Sizes, base: Mapping[str, str], seconds: float
    ) -> None:
        self.results = results
        self._file = file
        self._sizes = sizes
        self._base = {"TTS_MODEL_TYPE": "off", **base}
        self._until = time.monotonic() + seconds
        self.hour_seconds = seconds / 4
        """The answer for an hour could otherwise use up all the time."""
        self._sweeps = 0

    def step(self, name: str, run: Callable[[], None]) -> None:
        """Measure one thing; if it fails, record the reason."""
        print(f"{name} …", flush=True)
        failures = (PartEnded, EngineRefused, Unavailable, OSError, subprocess.SubprocessError)
        try:
            run()
        except OutOfTime:
            self._skip(name, "time ran out")
        except failures as error:
            self._skip(name, str(error))
        self.results.save(self._file)

    def _skip(self, name: str, why: str) -> None:
        print(f"  not measured: {why}", flush=True)
        self.results.skipped.append((name, why))

    @contextlib.contextmanager
    def in_time(self) -> Iterator[None]:
        """Raise OutOfTime in the block when time runs out."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise OutOfTime
        before = signal.signal(signal.SIGALRM, _out_of_time)
        signal.setitimer(signal.ITIMER_REAL, left if math.isfinite(left) else 0)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def transcription(self, model: Model, setting: Setting, clients: Sequence[int]) -> None:
        """Measure an engine with this setting for each number of clients; for the default setting,
        also an hour-long recording alone, and requests through the proxy."""
        setting.require()
        sizes, log = self._sizes, log_file(f"gpu-{setting.name.replace(' ', '-')}")
        port, engine_port = free_port(), free_port()
        environ = {**self._base, **setting.variables}
        started = time.monotonic()
        with contextlib.ExitStack() as parts:
            with self.in_time():
                parts.enter_context(stack(str(model.folder), port, engine_port, log, environ))
            if "ONCE MORE with --conservative" in log.read_text(errors="replace"):
                raise Unavailable(f"it died and was restarted with --conservative (log: {log})")
            start = Start(setting.name, time.monotonic() - started, memory_gib())
            self.results.starts.append(start)
            print(f"  ready after {start.seconds:.0f} s (log: {log})", flush=True)
            engine = f"http://127.0.0.1:{engine_port}"
            warm_up(engine, max(clients), sizes.clip_seconds, self._until)
            fixed = f"{setting.name}, {sizes.clip_tokens} tokens"
            for count in clients:
                self._sweep(to_engine(engine, sizes.clip_tokens), fixed, count)
            if setting == DEFAULT:
                if model.published:
                    through = to_proxy(f"http://127.0.0.1:{port}")
                    for count in clients:
                        self._sweep(through, "default, through the proxy, real answers", count)
                self._one_hour(engine, setting)
            start.memory = memory_gib()

    def _sweep(self, ask: Ask, setting: str, clients: int) -> None:
        self._sweeps += 1
        clips = self._sizes.rounds * max(clients, 2)
        length = self._sizes.clip_seconds
        found = sweep(ask, setting, clients, clips, length, self._until, self._sweeps)
        self.results.clips.append(found)
        self.results.save(self._file)
        print(
            f"  {setting}, {clients} clients: {found.speed:.1f}x real time, {found.token_ms:.1f} "
            f"ms per token, {found.failures} failures",
            flush=True,
        )

    def _one_hour(self, engine: str, setting: Setting) -> None:
        sizes = self._sizes
        until = min(self._until, time.monotonic() + self.hour_seconds)
        try:
            found = hour(engine, setting.name, sizes.hour_seconds, sizes.hour_tokens, until)
        except OutOfTime:
            self._skip("one long recording alone", "time ran out before the first token")
            return
        self.results.hours.append(found)
        print(
            f"  {found.audio_seconds / 60:.1f} minutes alone: first token after {found.first:.1f} "
            f"s, {found.tokens} tokens in {found.seconds:.1f} s",
            flush=True,
        )

    def speech(self, model: str, device: str, layers: int) -> None:
        """Measure streams of a speech model with random weights, in a separate process."""
        sizes = self._sizes
        options = [*("--models", model, "--device", device, "--dtype", "bfloat16")]
        options += ["--layers", str(layers), "--frames", str(sizes.frames)]
        options += ["--streams", *map(str, sizes.streams)]
        with tempfile.TemporaryDirectory() as folder:
            rows = Path(folder) / "rows"
            rows.touch()
            command = [sys.executable, "-m", "bench.speech", *options, "--json", str(rows)]
            try:
                with self.in_time():
                    subprocess.run(command, cwd=ROOT, check=True)
            finally:
                self.results.speech += map(Speech.from_json, rows.read_text().splitlines())


def _out_of_time(number: int, frame: FrameType | None) -> None:
    raise OutOfTime
