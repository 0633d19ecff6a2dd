"""A transcription session over a WebSocket: audio out, events in."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from vibevoice_batch.errors import Refused
from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_live.config import SessionConfig
from vibevoice_live.errors import SessionLost, SourceError
from vibevoice_live.events import (
    BUFFER,
    Cleared,
    Committed,
    Completed,
    ErrorEvent,
    Failed,
    ServerEvent,
    parse,
)

_BYTES_PER_SECOND = 2 * SAMPLE_RATE
_CONFIGURE, _LAST_COMMIT = "configure", "last_commit"
"""Ids of the events whose errors are handled."""


class Session:
    """A session over an open connection. `play` and `events` run at the same time."""

    def __init__(self, connection: ClientConnection, patience: float) -> None:
        """`patience`: seconds to wait for each event after all audio was sent."""
        self._connection = connection
        self._patience = patience
        self._sent = 0
        self._is_finishing = asyncio.Event()

    @property
    def seconds(self) -> float:
        """Seconds of audio sent."""
        return self._sent / _BYTES_PER_SECOND

    async def play(self, config: SessionConfig, blocks: AsyncGenerator[bytes]) -> None:
        """Send audio, then request the last words.

        Args:
            blocks: 16-bit little-endian samples at 24 kHz, mono.

        Raises SourceError from `blocks`, after requesting the last words.
        """
        failure = None
        try:
            session = config.session()
            await self._send("session.update", event_id=_CONFIGURE, session=session)
            try:
                async with aclosing(blocks):
                    async for block in blocks:
                        audio = base64.b64encode(block).decode()
                        await self._send(f"{BUFFER}.append", audio=audio)
                        self._sent += len(block)
            except SourceError as error:
                failure = error
            # `cleared` comes after the last `committed`, so no turn is missed.
            await self._send(f"{BUFFER}.commit", event_id=_LAST_COMMIT)
            await self._send(f"{BUFFER}.clear")
            self._is_finishing.set()
        except ConnectionClosed:
            return  # `events` reports it
        if failure:
            raise failure

    async def events(self) -> AsyncIterator[tuple[ServerEvent, dict[str, Any]]]:
        """Yield each event and all its fields, until all audio that was sent is transcribed.

        Raises:
            Refused: the server rejected the settings.
            SessionLost: the session ended early.
        """
        open_items: set[str] = set()
        is_cleared = False
        while not is_cleared or open_items:
            try:
                event, fields = parse(await self._receive())
            except ConnectionClosed as error:
                raise SessionLost(_reason(error)) from error
            except ValueError as error:
                raise SessionLost(str(error)) from error
            match event:
                case ErrorEvent(error=body) if body.event_id == _CONFIGURE:
                    raise Refused(f"the server rejected the settings: {body.message}")
                case ErrorEvent(error=body) if body.event_id == _LAST_COMMIT:
                    continue  # there was no audio left to commit
                case Committed(item_id=item_id):
                    open_items.add(item_id)
                case Completed(item_id=item_id) | Failed(item_id=item_id):
                    open_items.discard(item_id)
                case Cleared():
                    is_cleared = True
                case _:
                    pass
            yield event, fields

    async def _receive(self) -> str | bytes:
        """The next message, without a time limit while audio is sent. Raises SessionLost."""
        receiving = asyncio.ensure_future(self._connection.recv())
        finishing = asyncio.ensure_future(self._is_finishing.wait())
        try:
            await asyncio.wait((receiving, finishing), return_when=asyncio.FIRST_COMPLETED)
            async with asyncio.timeout(self._patience):
                return await receiving
        except TimeoutError:
            message = f"the server sent nothing for {self._patience:g} s"
            raise SessionLost(message) from None
        finally:
            receiving.cancel()
            finishing.cancel()

    async def _send(self, type: str, **fields: Any) -> None:
        await self._connection.send(json.dumps({"type": type, **fields}))


def _reason(error: ConnectionClosed) -> str:
    """Why a connection is closed."""
    if error.rcvd is None:
        return "the connection was lost"
    said = f": {error.rcvd.reason}" if error.rcvd.reason else ""
    return f"the server ended the session (code {error.rcvd.code}{said})"
