"""Runs the engine as a child process: waits until it is healthy, and forwards signals."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from vibevoice_core.addresses import local_url, reachable
from vibevoice_vllm.failure import can_be_mended, failure_reason, signal_name

_SHOWN_LINES = 20
"""How many lines of the engine's log are repeated with the reason when it ends."""
_KEPT_LINES = 1000
"""How many lines are searched for the reason: the process that failed is not always the last to
write to the log."""
_REPORT_SECONDS = 10
_STOP_SECONDS = 20
"""How long the engine may take to stop if it has no requests to finish."""
_REST_SECONDS = 5
"""How long its other processes may take after that."""


class EngineError(Exception):
    """The engine did not start, or it stopped by itself. The message says why."""


class EngineEnded(EngineError):
    """The engine exited by itself."""

    def __init__(self, code: int, lines: Sequence[str], ready: bool) -> None:
        self.reason = failure_reason(code, lines)
        """The reason, on one line."""
        self.mendable = not ready and can_be_mended(code, lines)
        """Whether the engine might start with other defaults."""
        when = "" if ready else " before it was ready"
        shown = "\n".join(list(lines)[-_SHOWN_LINES:])
        name = signal_name(code)
        how = f"was killed by {name}{when}" if name else f"ended{when} with exit code {code}"
        super().__init__(f"the engine {how}. Its last lines:\n{shown}\nReason: {self.reason}")


class _Engine:
    """The engine's process in its own session. Its output is passed on and the end remembered."""

    def __init__(self, stop_seconds: int) -> None:
        self._stop_seconds = stop_seconds
        self._process: subprocess.Popen[str] | None = None
        self.last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self.stopping: signal.Signals | None = None

    def start(self, argv: list[str], environ: Mapping[str, str]) -> None:
        """Start the process. Raises EngineError if the program does not exist."""
        try:
            self._process = subprocess.Popen(
                argv,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise EngineError(f"cannot run {argv[0]}: {error.strerror}") from error
        self._reader = threading.Thread(target=self._pass_on, daemon=True)
        self._reader.start()
        if self.stopping:  # a signal arrived before there was a process
            self.forward(self.stopping)

    @property
    def process(self) -> subprocess.Popen[str]:
        """The process, once started."""
        assert self._process is not None
        return self._process

    def _pass_on(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.last_lines.append(line.rstrip())
                # If the reader of the log is gone, the engine must not block on a full pipe.
                with suppress(OSError, ValueError):
                    sys.stdout.write(line)
                    sys.stdout.flush()

    def ended(self, seconds: float) -> int | None:
        """Wait up to `seconds` for the exit; return the exit code, or None if it still runs."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        # The engine's other processes exit after the one that answers requests, or not at all.
        until = time.monotonic() + _REST_SECONDS
        while self._has_processes() and time.monotonic() < until:
            time.sleep(0.1)
        self._signal_group(signal.SIGKILL)
        self._reader.join(_REST_SECONDS)
        return code

    def forward(self, number: int, frame: FrameType | None = None) -> None:
        self.stopping = signal.Signals(number)
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def stop(self) -> None:
        """Stop the engine, and kill it if necessary. No effect if it has exited."""
        if not self.stopping:
            self.forward(signal.SIGTERM)
        if self.ended(self._stop_seconds) is None:
            self._signal_group(signal.SIGKILL)
            self.ended(_STOP_SECONDS)

    def _has_processes(self) -> bool:
        """Whether a process of the engine still runs. As PID 1 of a container this process is the
        parent of those that the engine leaves behind; one that is not collected counts as running.
        """
        with suppress(ChildProcessError):
            while os.waitpid(-self.process.pid, os.WNOHANG)[0]:
                pass
        return self._signal_group(0)

    def _signal_group(self, number: int) -> bool:
        """Signal all processes of the engine; False if there are none left."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return False
        return True


def supervise(
    argv: list[str],
    environ: Mapping[str, str],
    host: str,
    port: int,
    wait_seconds: int,
    finish_seconds: int = 0,
) -> int:
    """Run the engine until a signal stops it, then return 0. Its requests then have
    `finish_seconds` to finish. If it does not exit, it is killed.

    Raises:
        EngineEnded: the engine exited by itself.
        EngineError: the port is taken, or it was not healthy after `wait_seconds` (0: no limit).
    """
    _require_free(host, port)
    engine = _Engine(_STOP_SECONDS + finish_seconds)
    # Before the start: a signal that arrives during it must not leave an engine behind.
    with _signals_forwarded(engine):
        engine.start(argv, environ)
        try:
            return _watch(engine, host, port, wait_seconds)
        finally:
            if engine.process.poll() is None:
                engine.stop()


def _watch(engine: _Engine, host: str, port: int, wait_seconds: int) -> int:
    url = f"{local_url(host, port)}/health"
    started, reported, ready = time.monotonic(), 0.0, False
    while (code := engine.ended(1.0)) is None:
        elapsed = time.monotonic() - started
        if engine.stopping:
            engine.stop()
        if ready or engine.stopping:
            continue
        state = _health(reachable(host), port)
        if state == "healthy":
            ready = True
            report(f"the engine is ready at http://{host}:{port} after {elapsed:.0f} s")
        elif wait_seconds and elapsed > wait_seconds:
            raise EngineError(
                f"the engine was not ready after {wait_seconds} s ({url}: {state}); raise the "
                "limit with --wait-ready-secs. Its last lines:\n"
                + "\n".join([*engine.last_lines][-_SHOWN_LINES:])
            )
        elif elapsed - reported >= _REPORT_SECONDS:
            reported = elapsed
            limit = f" of {wait_seconds} s" if wait_seconds else " s"
            report(f"waiting for {url}: {state}, {elapsed:.0f}{limit}")
    if engine.stopping and code in (
        *(0, -engine.stopping, 128 + engine.stopping),
        # While loading, vLLM turns every stop signal into a KeyboardInterrupt.
        *(-signal.SIGINT, 128 + signal.SIGINT),
        -signal.SIGKILL,  # it did not stop in time
    ):
        return 0
    # If it was asked to stop, it is not restarted, whatever its exit code.
    raise EngineEnded(code, tuple(engine.last_lines), ready or engine.stopping is not None)


def _health(host: str, port: int) -> str:
    """`healthy`, or a description of the failure."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except OSError as error:
        return (error.strerror or type(error).__name__).lower()
    except http.client.HTTPException as error:
        return f"no HTTP answer ({type(error).__name__})"
    finally:
        connection.close()
    return "healthy" if status == 200 else f"status {status}"


def _require_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise EngineError(f"cannot listen on {host}:{port}: {error.strerror}") from error


@contextmanager
def _signals_forwarded(engine: _Engine) -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.signal(number, engine.forward) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def report(text: str) -> None:
    """Print a line to the script's log."""
    print(f"[vibevoice-engine] {text}", file=sys.stderr, flush=True)
