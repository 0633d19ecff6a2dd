"""One WebSocket and its session, from the first event to the last."""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from time import monotonic
from typing import Any

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from vibevoice_proxy.errors import ProxyError
from vibevoice_proxy.realtime.client_events import InvalidEvent
from vibevoice_proxy.realtime.outbox import Outbox
from vibevoice_proxy.realtime.sessions import Session

GOING_AWAY, INTERNAL_ERROR, RESTART = 1001, 1011, 1012
"""Close codes (RFC 6455, 7.4.1, and IANA's registry)."""
LAST_SECONDS = 2.0
"""For the last events of a session that ends."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a session may do what."""

    session_seconds: float
    idle_seconds: float
    """Without an event of the client, or with one that cannot be handled."""
    send_seconds: float
    """Until the client takes an event."""
    finish_seconds: float
    """For what was begun, when the session ends by itself or the process is told to stop."""


class SessionEnded(ProxyError):
    """The session ends by itself."""

    status = 408
    type = "invalid_request_error"


@dataclass(frozen=True, slots=True)
class End:
    """Why a session is over."""

    name: str
    """For the metrics."""
    code: int
    """Of the WebSocket; 0 where there is nobody to be told."""
    error: ProxyError | None = None


class Connection:
    """Reads, works and writes at the same time until one of them is over."""

    def __init__(
        self,
        socket: WebSocket,
        session: Session,
        outbox: Outbox,
        bounds: Bounds,
        stopping: asyncio.Event,
    ) -> None:
        """`socket` is accepted; `stopping` is set when the process is told to stop."""
        self._socket = socket
        self._session = session
        self._outbox = outbox
        self._bounds = bounds
        self._stopping = stopping

    async def run(self) -> str:
        """Serve the session to its end: why it is over."""
        end = await _first(self._serve(), self._write(), self._work())
        await self._close(end)
        return end.name

    async def _serve(self) -> End:
        end = await _first(self._read(), self._expire(), self._stop())
        if end.code in (RESTART, GOING_AWAY):
            try:
                async with asyncio.timeout(self._bounds.finish_seconds):
                    await self._session.finish()
            except TimeoutError:
                logger.warning("the session was not finished in time")
        return end

    async def _read(self) -> End:
        await self._session.begin()
        # The next message is awaited while one is handled: it may say that the client is gone.
        receiving = asyncio.ensure_future(self._socket.receive())
        handling: asyncio.Future[None] | None = None
        idle = self._bounds.idle_seconds
        try:
            while True:
                await asyncio.wait([receiving], timeout=idle)
                if not receiving.done():
                    return _over("idle", f"Nothing came for {idle:g} seconds.", "session_idle")
                message = receiving.result()
                if message["type"] == "websocket.disconnect":
                    return End("client", 0)
                receiving = asyncio.ensure_future(self._socket.receive())
                handling = asyncio.ensure_future(self._handle(message))
                if not await self._wait_for(handling, receiving):
                    return End("client", 0)
                if not handling.done():
                    message = f"The recognizer took no audio for {idle:g} seconds."
                    error = SessionEnded(message, code="recognizer_behind")
                    return End("error", INTERNAL_ERROR, error)
                handling.result()
        finally:
            for task in (receiving, handling):
                if task and not task.done():
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)

    async def _wait_for(
        self, handling: asyncio.Future[None], receiving: asyncio.Future[Message]
    ) -> bool:
        """Wait until a message is handled, or for too long; False as soon as the client is gone."""
        end = monotonic() + self._bounds.idle_seconds
        waiting: set[asyncio.Future[Any]] = {handling, receiving}
        while not handling.done() and (left := end - monotonic()) > 0:
            await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if receiving.done():
                if receiving.result()["type"] == "websocket.disconnect":
                    return False
                waiting.discard(receiving)
        return True

    async def _handle(self, message: Any) -> None:
        try:
            if (text := message.get("text")) is None:
                raise InvalidEvent(
                    "The message is binary; expected an event as JSON text.", code="invalid_event"
                )
            await self._session.handle(text)
        except InvalidEvent as error:
            await self._outbox.put_error(error, error.event_id)
        except ProxyError as error:
            await self._outbox.put_error(error)

    async def _write(self) -> End:
        while True:
            text = await self._outbox.get()
            try:
                async with asyncio.timeout(self._bounds.send_seconds):
                    await self._socket.send_text(text)
            except TimeoutError:
                logger.warning("the client took nothing for %g s", self._bounds.send_seconds)
                return End("slow", 0)
            except WebSocketDisconnect:
                return End("client", 0)

    async def _work(self) -> End:
        await self._session.run()
        raise RuntimeError("a session ended by itself")

    async def _expire(self) -> End:
        await asyncio.sleep(self._bounds.session_seconds)
        minutes = f"{self._bounds.session_seconds / 60:g} minutes"
        return _over("expired", f"The session lasted {minutes}, the longest.", "session_expired")

    async def _stop(self) -> End:
        await self._stopping.wait()
        error = SessionEnded("The server is stopping. Connect again.", code="server_stopping")
        return End("stopping", RESTART, error)

    async def _close(self, end: End) -> None:
        if not end.code:
            return
        try:
            async with asyncio.timeout(LAST_SECONDS):
                while (text := self._outbox.take()) is not None:
                    await self._socket.send_text(text)
                if end.error:
                    await self._outbox.put_error(end.error)
                    await self._socket.send_text(await self._outbox.get())
                await self._socket.close(end.code)
        except (TimeoutError, WebSocketDisconnect):
            logger.info("the client did not take the end of its session")


def _over(name: str, message: str, code: str) -> End:
    return End(name, GOING_AWAY, SessionEnded(f"{message} The session ends.", code=code))


async def _first(*parts: Coroutine[Any, Any, End]) -> End:
    """The result of the part that is over first; the others are cancelled. A part that fails with a
    ProxyError tells the client, one that fails with anything else is a bug."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    try:
        return next(iter(done)).result()
    except ProxyError as error:
        return End("error", INTERNAL_ERROR, error)
    except Exception:
        logger.exception("a session failed")
        error = ProxyError("Internal error. The server's log has the details.", code="internal")
        return End("error", INTERNAL_ERROR, error)
