"""Serves one WebSocket connection and its session."""

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
from vibevoice_proxy.values import length_in_words

GOING_AWAY, INTERNAL_ERROR, RESTART = 1001, 1011, 1012
"""Close codes (RFC 6455, 7.4.1, and IANA's registry)."""
LAST_SECONDS = 2.0
"""Time to send the last events of a session that is ending."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Timeouts of a session."""

    session_seconds: float
    idle_seconds: float
    """Maximum time without an event from the client, and to handle one event."""
    send_seconds: float
    """Maximum time until the client reads an event."""
    finish_seconds: float
    """Time to finish pending work when the session times out or the process is stopping."""


class SessionEnded(ProxyError):
    """The server is ending the session."""

    status = 408
    type = "invalid_request_error"


@dataclass(frozen=True, slots=True)
class End:
    """Why a session ended."""

    name: str
    """Label for the metrics."""
    code: int
    """WebSocket close code; 0 if the client is gone."""
    error: ProxyError | None = None


class Connection:
    """Reads, works and writes concurrently until one of them ends."""

    def __init__(
        self,
        socket: WebSocket,
        session: Session,
        outbox: Outbox,
        bounds: Bounds,
        stopping: asyncio.Event,
    ) -> None:
        """`socket`: an accepted connection. `stopping`: set when the process shuts down."""
        self._socket = socket
        self._session = session
        self._outbox = outbox
        self._bounds = bounds
        self._stopping = stopping

    async def run(self) -> str:
        """Serve the session and return why it ended."""
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
        # Receive the next message while one is handled, to notice a disconnect.
        receiving = asyncio.ensure_future(self._socket.receive())
        handling: asyncio.Future[None] | None = None
        idle = self._bounds.idle_seconds
        try:
            while True:
                await asyncio.wait([receiving], timeout=idle)
                if not receiving.done():
                    return _over(
                        "idle", f"Nothing was received for {idle:g} seconds.", "session_idle"
                    )
                message = receiving.result()
                if message["type"] == "websocket.disconnect":
                    return End("client", 0)
                receiving = asyncio.ensure_future(self._socket.receive())
                handling = asyncio.ensure_future(self._handle(message))
                if not await self._wait_for(handling, receiving):
                    return End("client", 0)
                if not handling.done():
                    message = f"The recognizer accepted no audio for {idle:g} seconds."
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
        """Wait until a message is handled or the idle timeout expires; False if the client is
        gone."""
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
                    await self._send(text)
            except TimeoutError:
                logger.warning("the client read nothing for %g s", self._bounds.send_seconds)
                return End("slow", 0)
            except WebSocketDisconnect:
                return End("client", 0)

    async def _send(self, text: str) -> None:
        try:
            await self._socket.send_text(text)
        except RuntimeError as error:  # raised by uvicorn if the client has disconnected
            raise WebSocketDisconnect from error

    async def _work(self) -> End:
        await self._session.run()
        raise RuntimeError("a session ended by itself")

    async def _expire(self) -> End:
        await asyncio.sleep(self._bounds.session_seconds)
        length = length_in_words(self._bounds.session_seconds)
        return _over(
            "expired", f"The session reached its maximum length of {length}.", "session_expired"
        )

    async def _stop(self) -> End:
        await self._stopping.wait()
        error = SessionEnded("The server is stopping. Reconnect.", code="server_stopping")
        return End("stopping", RESTART, error)

    async def _close(self, end: End) -> None:
        if not end.code:
            return
        try:
            async with asyncio.timeout(LAST_SECONDS):
                while (text := self._outbox.take()) is not None:
                    await self._send(text)
                if end.error:
                    await self._outbox.put_error(end.error)
                    await self._send(await self._outbox.get())
                await self._socket.close(end.code)
        except (TimeoutError, WebSocketDisconnect, RuntimeError):  # as in `_send`
            logger.info("the client did not receive the end of its session")


def _over(name: str, message: str, code: str) -> End:
    return End(name, GOING_AWAY, SessionEnded(f"{message} The session is closed.", code=code))


async def _first(*parts: Coroutine[Any, Any, End]) -> End:
    """Return the result of the first part that ends and cancel the others. A ProxyError is reported
    to the client; any other exception is a bug."""
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
        error = ProxyError("Internal error. See the server's log for details.", code="internal")
        return End("error", INTERNAL_ERROR, error)
