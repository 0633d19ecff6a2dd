"""Transcribes many recordings concurrently and saves each result in the journal and as files."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from vibevoice_batch.errors import Busy, ConnectionLost, Failure, GaveUp
from vibevoice_batch.journal import Content, Journal, read_content, request_key
from vibevoice_batch.limit import Limit
from vibevoice_batch.outputs import Transcript, seconds
from vibevoice_batch.progress import Report
from vibevoice_batch.recordings import Recording
from vibevoice_batch.store import Store

Ask = Callable[[Recording, str], Awaitable[Transcript]]
"""Transcribes a recording; the second argument is its `request_key`."""

TRIES_AFTER_LOSS = 3
"""Maximum requests for a recording whose connection breaks: it may be what crashes the server."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds before retrying a busy server that does not specify a delay; doubled each time."""
_T = TypeVar("_T")


class NotThere(Exception):
    """A recording has no result yet."""


class Run:
    """A run over a list of recordings. Call `over` once."""

    def __init__(
        self,
        ask: Ask,
        journal: Journal,
        store: Store,
        report: Report,
        limit: Limit,
        patience: float,
    ) -> None:
        """`patience`: the run ends after this many seconds without any response."""
        self._ask = ask
        self._journal = journal
        self._store = store
        self._report = report
        self._limit = limit
        self._patience = patience
        self._stop = asyncio.Event()
        self._in_flight: dict[str, list[tuple[Recording, Content]]] = {}
        """For each key, files of the same content that wait for its transcript."""
        self.asking = 0
        """Requests in flight."""
        self._last_answer = time.monotonic()
        self._trouble = ""
        """The last message shown."""
        # The journal and the files are written by one thread, one after another.
        self._writer = ThreadPoolExecutor(1, "writer")

    def stop(self) -> None:
        """Start nothing more; requests in flight are completed."""
        self._stop.set()

    async def over(self, recordings: Iterable[Recording]) -> None:
        """Transcribe all of them, unless stopped.

        Raises:
            Refused, GaveUp: the run cannot continue.
            OSError: the journal cannot be written.
        """
        stopped = asyncio.ensure_future(self._stop.wait())
        running: set[asyncio.Future[Any]] = set()
        try:
            for recording in recordings:
                running.add(asyncio.ensure_future(self._one(recording)))
                while len(running) >= self._limit.value and not self._stop.is_set():
                    running = await self._some({*running, stopped}) - {stopped}
                if self._stop.is_set():
                    break
            while running:
                running = await self._some(running)
        finally:
            for task in (*running, stopped):
                task.cancel()
            await asyncio.gather(*running, stopped, return_exceptions=True)
            self._writer.shutdown()

    async def _some(self, running: set[asyncio.Future[Any]]) -> set[asyncio.Future[Any]]:
        """Wait until one has finished, raise its error if any, and return those still running."""
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        return running

    async def _one(self, recording: Recording) -> None:
        try:
            content = await asyncio.to_thread(read_content, recording.path)
        except Failure as failure:
            return await self._fail(recording, Content(0, 0, ""), failure)
        key = request_key(content.sha256, recording.fields)
        if why := self._store.obstacle(recording, key):
            return self._report.fail(recording.name, why, content.size)
        if (entry := self._journal.done(key)) is not None:
            return await self._keep(recording, content, self._journal.transcript(entry), True)
        if key in self._in_flight:
            self._in_flight[key].append((recording, content))
            return
        same = self._in_flight[key] = [(recording, content)]
        try:
            transcript = await self._patiently(recording, key)
            for number, (recording, content) in enumerate(same):
                await self._keep(recording, content, transcript, number > 0)
        except Failure as failure:
            for recording, content in same:
                await self._fail(recording, content, failure)
        except NotThere:
            pass
        finally:
            del self._in_flight[key]

    async def _patiently(self, recording: Recording, key: str) -> Transcript:
        """Request a transcript, and retry while that can help.

        Raises:
            Failure, Refused, GaveUp: a retry would not help.
            NotThere: the run was stopped before there was a response.
        """
        losses, busy_since, wait = 0, None, FIRST_WAIT
        while not self._stop.is_set():
            try:
                return await self._once(recording, key)
            except Busy as busy:
                trouble, asked_for = busy, busy.retry_after
            except ConnectionLost as lost:
                losses += 1
                if losses == TRIES_AFTER_LOSS:
                    raise Failure(str(lost)) from lost
                trouble, asked_for = lost, None
            busy_since = busy_since or time.monotonic()
            self._say_why(trouble)
            quiet = time.monotonic() - max(busy_since, self._last_answer)
            if quiet > self._patience and not self.asking:
                raise GaveUp(f"no response for {quiet:.0f} s: {trouble}")
            await self._pause(asked_for or wait)
            wait = min(LONGEST_WAIT, 2 * wait)
        raise NotThere

    async def _once(self, recording: Recording, key: str) -> Transcript:
        round, sent = self._limit.sent(), time.monotonic()
        self.asking += 1
        try:
            transcript = await self._ask(recording, key)
        except Busy as busy:
            if busy.is_full:
                self._limit.busy(round)
            raise
        except Failure:
            self._last_answer = time.monotonic()
            raise
        finally:
            self.asking -= 1
        self._last_answer = time.monotonic()
        self._limit.answered(round, seconds(transcript), self._last_answer - sent)
        return transcript

    def _say_why(self, trouble: Busy | ConnectionLost) -> None:
        """Report the reason once, so that a wrong address does not look like a slow server."""
        is_full = isinstance(trouble, Busy) and trouble.is_full
        if not is_full and str(trouble) != self._trouble:
            self._trouble = str(trouble)
            self._report.say(f"Retrying: {trouble}")

    async def _pause(self, seconds: float) -> None:
        """Sleep for `seconds` plus a random delay, or until stopped."""
        try:
            async with asyncio.timeout(seconds * random.uniform(1, 1.25)):
                await self._stop.wait()
        except TimeoutError:
            pass

    async def _keep(
        self, recording: Recording, content: Content, transcript: Transcript, copied: bool
    ) -> None:
        if why := await self._write(self._store.keep, recording, content, transcript):
            return self._report.fail(recording.name, why, content.size)
        self._report.done(content.size, seconds(transcript), self._limit.value, copied=copied)

    async def _fail(self, recording: Recording, content: Content, failure: Failure) -> None:
        await self._write(self._store.fail, recording, content, failure)
        self._report.fail(recording.name, str(failure), content.size)

    async def _write(self, write: Callable[..., _T], *args: Any) -> _T:
        """Run `write` in the writing thread; once started, it finishes even if canceled."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._writer, partial(write, *args)))
