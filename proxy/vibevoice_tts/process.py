"""The worker as the proxy sees it: a child process that is started, watched and restarted."""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict
from itertools import count
from time import monotonic

from vibevoice_tts.models import ModelConfig
from vibevoice_tts.protocol import Message, ModelInfo, event_of, read_message_async, request_message
from vibevoice_tts.speech_model import End, Event, SpeechError, SpeechRequest

FIRST_BACKOFF, LAST_BACKOFF = 1.0, 30.0
"""Seconds before the next start after one that failed; doubled each time."""
END_SECONDS = 5.0
"""Time that a worker has to end once its input is closed."""

logger = logging.getLogger(__name__)


class WorkerUnavailable(SpeechError):
    """The worker is not ready, or it was lost while it spoke; a retry can help."""


class WorkerProcess:
    """One model in one child process; `run` keeps it alive, `synthesize` uses it."""

    def __init__(self, config: ModelConfig, *, start_timeout: float, hang_timeout: float) -> None:
        """`start_timeout` is the seconds that loading may take; `hang_timeout` is the seconds that
        the process may be silent while requests are in flight, after which it is killed."""
        self.config = config
        self.info: ModelInfo | None = None
        """What the worker said of its model; None before its first start."""
        self.restarts = 0
        """How often the worker was lost and another one started."""
        self._start_timeout = start_timeout
        self._hang_timeout = hang_timeout
        self._unusable = ""
        """Why the model cannot be used as it is set up; empty where nothing is known."""
        self._process: asyncio.subprocess.Process | None = None
        self._ready = asyncio.Event()
        self._slots = asyncio.Semaphore(config.capacity)
        self._numbers = count(1)
        self._in_flight: dict[int, asyncio.Queue[Message | WorkerUnavailable]] = {}
        self._last_sign = 0.0
        """When the worker last said something, or got a request while idle (monotonic)."""

    @property
    def name(self) -> str:
        """The model's name."""
        return self.config.card.name

    @property
    def is_ready(self) -> bool:
        """Whether requests are served at once."""
        return self._ready.is_set()

    @property
    def in_flight(self) -> int:
        """Requests being spoken."""
        return len(self._in_flight)

    @property
    def unready_message(self) -> str:
        """Why nothing can be spoken now, for clients."""
        if self._unusable:
            return f"The model {self.name} cannot be used. {self._unusable}"
        state = "is being restarted" if self.info else "is still loading"
        return f"The model {self.name} {state}. Try again soon."

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is no child."""
        return self._process.pid if self._process else None

    async def run(self) -> None:
        """Start the worker, and start it again whenever it ends, until cancelled."""
        backoff = FIRST_BACKOFF
        while True:
            was_ready, reason = await self._run_once()
            self.restarts += 1
            logger.error("the %s worker %s", self.name, reason)
            if was_ready:
                backoff = FIRST_BACKOFF
            else:
                await asyncio.sleep(backoff)
                backoff = min(2 * backoff, LAST_BACKOFF)

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Event]:
        """The speech of `request` as it is made; close the generator to stop it.

        Waits for a free slot. Raises WorkerUnavailable when the worker is not ready or is lost,
        SpeechRejected for what the client must change, SpeechError when speaking fails.
        """
        if not self.is_ready:
            raise WorkerUnavailable(self.unready_message)
        async with self._slots:
            # The worker may have been lost meanwhile: a new one is on its way.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), self._start_timeout)
            if not self.is_ready:
                raise WorkerUnavailable(self.unready_message)
            with self._sent(request) as messages:
                while True:
                    message = await messages.get()
                    if isinstance(message, WorkerUnavailable):
                        raise message
                    event = event_of(message)
                    yield event
                    if isinstance(event, End):
                        return

    @contextmanager
    def _sent(self, request: SpeechRequest) -> Iterator[asyncio.Queue[Message | WorkerUnavailable]]:
        """Send a request, and cancel it if it has not ended with the block: the messages that come
        for it."""
        number = next(self._numbers)
        if not self._in_flight:
            self._last_sign = monotonic()
        messages = self._in_flight[number] = asyncio.Queue()
        self._write(request_message(number, request))
        try:
            yield messages
        finally:
            if self._in_flight.pop(number, None) is not None:
                self._write(Message("cancel", {"id": number}))

    def _write(self, message: Message) -> None:
        # Not drained: a worker that reads nothing has hung, and what waits for it is bounded by
        # its capacity.
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(message.encode())

    async def _run_once(self) -> tuple[bool, str]:
        """One life of the worker: (whether it got ready, how it ended)."""
        try:
            process = self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "vibevoice_tts.worker", json.dumps(asdict(self.config))),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            return False, f"could not be started: {error}"
        assert process.stdout is not None
        started = monotonic()
        was_ready = False
        reason = f"did not get ready within {self._start_timeout:g} s"
        try:
            async with asyncio.timeout(self._start_timeout):
                reason = await self._greet(process.stdout)
            if not reason:
                was_ready = True
                logger.info("%s is ready after %.1f s", self.name, monotonic() - started)
                reason = await self._serve(process.stdout)
        except TimeoutError:
            pass
        except ValueError as error:
            reason = f"sent something that is not a message: {error}"
        finally:
            self._lose(reason)
            await _end(process)
        return was_ready, f"{reason} (exit status {process.returncode})"

    async def _greet(self, pipe: asyncio.StreamReader) -> str:
        """Wait until the worker is ready: why it is not, else empty."""
        message = await read_message_async(pipe)
        if message is None:
            return "did not start"
        if message.kind != "ready":
            self._unusable = message.fields["message"] if message.fields["unusable"] else ""
            return f"could not start: {message.fields['message']}"
        self._unusable = ""
        self.info = ModelInfo.from_fields(message.fields)
        self._ready.set()
        return ""

    async def _serve(self, pipe: asyncio.StreamReader) -> str:
        """Hand out the worker's messages until the last one: why it ended."""
        watch = asyncio.create_task(self._watch())
        reason = ""
        try:
            while (message := await read_message_async(pipe)) is not None:
                self._last_sign = monotonic()
                if message.kind == "broken":
                    reason = f"failed: {message.fields['message']}"
                elif (number := message.fields.get("id")) in self._in_flight:
                    self._in_flight[number].put_nowait(message)
                    if message.kind in ("end", "failure"):
                        del self._in_flight[number]
        finally:
            hung = watch.done()
            watch.cancel()
        return reason or ("gave no sign of life and was stopped" if hung else "ended unexpectedly")

    async def _watch(self) -> None:
        """Kill the worker once it is silent for too long with requests in flight; then return."""
        while not self._in_flight or monotonic() - self._last_sign < self._hang_timeout:
            await asyncio.sleep(min(self._hang_timeout / 10, 1.0))
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.kill()

    def _lose(self, reason: str) -> None:
        """Fail the requests in flight; those that wait for a slot go on waiting."""
        self._ready.clear()
        self._process = None
        for messages in self._in_flight.values():
            messages.put_nowait(
                WorkerUnavailable(f"The speech worker {reason} while it spoke. Try again soon.")
            )
        self._in_flight.clear()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Let the worker end, or kill it; its output is read to the end, or its exit is never seen."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(END_SECONDS):
            await process.communicate()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@asynccontextmanager
async def open_worker(
    config: ModelConfig, *, start_timeout: float, hang_timeout: float
) -> AsyncIterator[WorkerProcess]:
    """A worker that is kept alive until the block ends; it may not be ready yet."""
    worker = WorkerProcess(config, start_timeout=start_timeout, hang_timeout=hang_timeout)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
