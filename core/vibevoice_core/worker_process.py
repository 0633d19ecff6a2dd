"""Starts, watches, and restarts a worker: a child process of the proxy.

The worker reads messages from standard input and writes messages to standard output. Its first
message is `ready`, or `broken` with a `message` if it cannot start, plus `unusable` if it never
will with its current setup. Messages about a request have its `id`. `end` and `failure` are the
last ones of a request; `cancel` tells the worker to drop it.
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from itertools import count
from time import monotonic
from typing import Any

from vibevoice_core.messages import Message, read_message_async

FIRST_BACKOFF, LAST_BACKOFF = 1.0, 30.0
"""Seconds until the next start after a failed one; doubled each time."""
END_SECONDS = 5.0
"""How long a worker may take to exit once its input is closed."""

logger = logging.getLogger(__name__)


class WorkerLost(Exception):
    """The worker is not ready, or was lost during a request. A retry can help."""


class Exchange:
    """One request to a worker."""

    def __init__(self, worker: "WorkerProcess", number: int) -> None:
        self.number = number
        self.messages: asyncio.Queue[Message | WorkerLost] = asyncio.Queue()
        self._worker = worker

    def send(self, message: Message) -> None:
        """Send a message about this request; the request's id is added. It is dropped if the worker
        was lost: the next one does not know the request."""
        if self._worker.serves(self):
            fields = {"id": self.number, **message.fields}
            self._worker.write(Message(message.kind, fields, message.samples))

    async def receive(self) -> Message:
        """Wait for the worker's next message about this request. Raises WorkerLost."""
        message = await self.messages.get()
        if isinstance(message, WorkerLost):
            raise message
        return message


class WorkerProcess:
    """One child process: `run` keeps it alive, `exchange` sends requests to it."""

    def __init__(
        self,
        name: str,
        module: str,
        argument: str,
        *,
        capacity: int,
        start_timeout: float,
        hang_timeout: float,
    ) -> None:
        """`name` identifies the worker in messages; the child is `python -m module argument`.

        `capacity` is the maximum number of requests in flight; others wait. `start_timeout` is the
        time in seconds until it must be ready. If it is silent for `hang_timeout` seconds while
        requests are in flight, it is killed."""
        self.name = name
        self.greeting: Mapping[str, Any] | None = None
        """What the worker reported when it became ready; None before its first start."""
        self.wanted = 0
        """Number of requests in flight or waiting for a slot."""
        self.restarts = 0
        """How often the worker was lost and restarted."""
        self._module, self._argument = module, argument
        self._start_timeout = start_timeout
        self._hang_timeout = hang_timeout
        self._process: asyncio.subprocess.Process | None = None
        self._ready = asyncio.Event()
        self._slots = asyncio.Semaphore(capacity)
        self._numbers = count(1)
        self._in_flight: dict[int, Exchange] = {}
        self._unusable = ""
        """Why the worker cannot start with its current setup; empty if nothing is known."""
        self._last_sign = 0.0
        """When the worker last sent a message, or received a request while idle (monotonic)."""

    @property
    def is_ready(self) -> bool:
        """Whether requests can start right away."""
        return self._ready.is_set()

    @property
    def in_flight(self) -> int:
        """Number of requests in flight."""
        return len(self._in_flight)

    @property
    def unready_message(self) -> str:
        """Why requests cannot be served now; written for clients."""
        if self._unusable:
            return f"The model {self.name} cannot be used. {self._unusable}"
        state = "is still loading" if self.greeting is None else "is being restarted"
        return f"The model {self.name} {state}. Try again soon."

    @property
    def pid(self) -> int | None:
        """The child's process id; None if there is no child."""
        return self._process.pid if self._process else None

    async def run(self) -> None:
        """Start the worker, and restart it whenever it exits, until cancelled."""
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

    @asynccontextmanager
    async def exchange(self, *, waits: bool = True) -> AsyncIterator[Exchange]:
        """Open a request, which is canceled unless it has ended when the block exits. Waits for a
        slot unless `waits` is False: for a short request that requests in slots may depend on, and
        for one that would keep a slot for hours.

        Raises WorkerLost if the worker is not ready.
        """
        if not self.is_ready:
            raise WorkerLost(self.unready_message)
        self.wanted += 1
        try:
            async with self._slots if waits else nullcontext():
                # The worker may have been lost in the meantime: a new one is starting.
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ready.wait(), self._start_timeout)
                if not self.is_ready:
                    raise WorkerLost(self.unready_message)
                with self._entered() as exchange:
                    yield exchange
        finally:
            self.wanted -= 1

    def serves(self, exchange: Exchange) -> bool:
        """Whether the request is in flight in the worker's current process."""
        return exchange.number in self._in_flight

    def write(self, message: Message) -> None:
        """Write a message to the worker, if there is one."""
        # Not drained: a worker that does not read has hung, and its capacity limits how much waits.
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(message.encode())

    @contextmanager
    def _entered(self) -> Iterator[Exchange]:
        if not self._in_flight:
            self._last_sign = monotonic()
        exchange = Exchange(self, next(self._numbers))
        self._in_flight[exchange.number] = exchange
        try:
            yield exchange
        finally:
            exchange.send(Message("cancel"))
            self._in_flight.pop(exchange.number, None)

    async def _run_once(self) -> tuple[bool, str]:
        """Run the worker once; return whether it became ready, and how it ended."""
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", self._module, self._argument)
        try:
            process = self._process = await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe
            )
        except OSError as error:
            return False, f"could not be started: {error}"
        assert process.stdout is not None
        started = monotonic()
        was_ready = False
        reason = f"was not ready within {self._start_timeout:g} s"
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
            reason = f"sent an invalid message: {error}"
        finally:
            self._lose(reason)
            await _end(process)
        return was_ready, f"{reason} (exit status {process.returncode})"

    async def _greet(self, pipe: asyncio.StreamReader) -> str:
        """Wait until the worker is ready; return why it is not, or an empty string."""
        message = await read_message_async(pipe)
        if message is None:
            return "did not start"
        if message.kind != "ready":
            self._unusable = message.fields["message"] if message.fields.get("unusable") else ""
            return f"could not start: {message.fields['message']}"
        self._unusable = ""
        self.greeting = message.fields
        self._ready.set()
        return ""

    async def _serve(self, pipe: asyncio.StreamReader) -> str:
        """Dispatch the worker's messages until the last one; return why it ended."""
        watch = asyncio.create_task(self._watch())
        reason = ""
        try:
            while (message := await read_message_async(pipe)) is not None:
                self._last_sign = monotonic()
                if message.kind == "broken":
                    reason = f"failed: {message.fields['message']}"
                elif (number := message.fields.get("id")) in self._in_flight:
                    self._in_flight[number].messages.put_nowait(message)
                    if message.kind in ("end", "failure"):
                        del self._in_flight[number]
        finally:
            hung = watch.done()
            watch.cancel()
        return reason or ("stopped responding and was killed" if hung else "ended unexpectedly")

    async def _watch(self) -> None:
        """Kill the worker if it is silent for too long with requests in flight, then return."""
        while not self._in_flight or monotonic() - self._last_sign < self._hang_timeout:
            await asyncio.sleep(min(self._hang_timeout / 10, 1.0))
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.kill()

    def _lose(self, reason: str) -> None:
        """Fail the requests in flight. Requests that wait for a slot continue to wait."""
        self._ready.clear()
        self._process = None
        message = f"The {self.name} worker {reason} while processing the request. Try again soon."
        for exchange in self._in_flight.values():
            exchange.messages.put_nowait(WorkerLost(message))
        self._in_flight.clear()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Let the worker exit, or kill it. Reads its output to the end, without which asyncio would
    never report the exit."""
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
async def running(*workers: WorkerProcess) -> AsyncIterator[None]:
    """Keep `workers` alive until the block exits. They may not be ready yet."""
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
