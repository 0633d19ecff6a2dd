"""What all realtime sessions share."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import time
from typing import Any, cast

from prometheus_client import CollectorRegistry
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from vibevoice_proxy.client_secrets import ClientSecrets
from vibevoice_proxy.errors import InvalidRequest, TooManyRequests
from vibevoice_proxy.live import LiveRecognition
from vibevoice_proxy.realtime.connection import Bounds, Connection
from vibevoice_proxy.realtime.hearing import Hearing
from vibevoice_proxy.realtime.items import Items
from vibevoice_proxy.realtime.metrics import RealtimeMetrics
from vibevoice_proxy.realtime.outbox import Outbox, new_id
from vibevoice_proxy.realtime.sessions import Session
from vibevoice_proxy.realtime.transcription_config import TranscriptionConfig
from vibevoice_proxy.realtime.transcription_session import TranscriptionSession, describe_session
from vibevoice_proxy.settings import Settings

logger = logging.getLogger(__name__)


class RealtimeService:
    """Made once for each process."""

    def __init__(
        self,
        settings: Settings,
        recognition: LiveRecognition,
        secrets: ClientSecrets,
        registry: CollectorRegistry,
    ) -> None:
        self.settings = settings
        self._recognition = recognition
        self._secrets = secrets
        self._metrics = RealtimeMetrics(registry)
        self._open = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for a session, for as long as the block lasts. Raises TooManyRequests."""
        if self._open >= self.settings.realtime_max_sessions:
            raise TooManyRequests
        self._open += 1
        try:
            with self._metrics.session():
                yield
        finally:
            self._open -= 1

    def configure(self, session: Mapping[str, Any] | None) -> TranscriptionConfig:
        """The configuration that a new session begins with; `session` has what differs from the
        default. Raises InvalidRequest or ModelNotFound."""
        changes = session or {"type": "transcription"}
        if changes.get("type") != "transcription":
            raise InvalidRequest(
                "This server has realtime sessions of the type 'transcription' alone.",
                param="session.type",
                code="unsupported",
            )
        config = TranscriptionConfig().updated(changes, None)
        self._recognition.check(config.audio.input.live_options)
        return config

    def issue_secret(self, config: TranscriptionConfig, seconds: int) -> dict[str, Any]:
        """A client secret, as OpenAI answers with it."""
        expires_at = int(time()) + seconds
        return {
            "value": self._secrets.issue(config.model_dump(), expires_at),
            "expires_at": expires_at,
            "session": describe_session(config, new_id("sess"), self._expiry()),
        }

    async def serve(self, socket: WebSocket, config: TranscriptionConfig, session_id: str) -> None:
        """The session of an accepted connection, to its end."""
        settings = self.settings
        outbox = Outbox()
        bounds = Bounds(
            settings.realtime_max_session_seconds,
            settings.realtime_idle_timeout,
            settings.realtime_send_timeout,
        )
        stopping: asyncio.Event = socket.scope["state"].get("stopping") or asyncio.Event()
        session = self._session(config, session_id, outbox)
        end = await Connection(socket, session, outbox, bounds, stopping).run()
        self._metrics.ended(end)
        logger.info("the session is over (%s)", end)

    def _session(self, config: TranscriptionConfig, session_id: str, outbox: Outbox) -> Session:
        """The session of the type that `config` is of."""
        settings = self.settings
        hearing = Hearing(
            self._recognition,
            Items(outbox),
            self._metrics,
            session_id=session_id,
            max_buffer_seconds=settings.realtime_max_buffer_seconds,
        )
        return TranscriptionSession(
            session_id,
            config,
            hearing,
            outbox,
            expires_at=self._expiry(),
            max_prompt_chars=settings.max_prompt_chars,
        )

    def _expiry(self) -> int:
        return int(time() + self.settings.realtime_max_session_seconds)


def realtime_of(connection: HTTPConnection) -> RealtimeService:
    """The realtime service of the process that serves `connection`."""
    return cast(RealtimeService, connection.state.realtime)
