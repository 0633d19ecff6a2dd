"""The state shared by all realtime sessions."""

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
from vibevoice_proxy.realtime.call_config import CallConfig, describe_call
from vibevoice_proxy.realtime.call_session import CallSession
from vibevoice_proxy.realtime.connection import LAST_SECONDS, Bounds, Connection
from vibevoice_proxy.realtime.hearing import Hearing
from vibevoice_proxy.realtime.items import Items
from vibevoice_proxy.realtime.metrics import RealtimeMetrics
from vibevoice_proxy.realtime.outbox import Outbox, new_id
from vibevoice_proxy.realtime.sessions import Session
from vibevoice_proxy.realtime.transcription_config import TranscriptionConfig
from vibevoice_proxy.realtime.transcription_session import TranscriptionSession, describe_session
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.voice import Voice

MAX_SECRET_CHARS = 8000
"""Maximum length of a client secret. Clients send it in a header of the handshake, and the library
websockets reads lines of up to 8 KiB."""

SessionConfig = TranscriptionConfig | CallConfig

logger = logging.getLogger(__name__)


class RealtimeService:
    """Creates and serves realtime sessions; one instance per process."""

    def __init__(
        self,
        settings: Settings,
        recognition: LiveRecognition,
        voice: Voice,
        secrets: ClientSecrets,
        registry: CollectorRegistry,
    ) -> None:
        self.settings = settings
        self._recognition = recognition
        self._voice = voice
        self._secrets = secrets
        self._metrics = RealtimeMetrics(registry)
        self._open = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Count a session as open until the block ends. Raises TooManyRequests if all slots are in
        use."""
        if self._open >= self.settings.realtime_max_sessions:
            raise TooManyRequests
        self._open += 1
        try:
            with self._metrics.session():
                yield
        finally:
            self._open -= 1

    async def configure(self, session: Mapping[str, Any] | None) -> SessionConfig:
        """The initial configuration of a session: the default with the fields of `session`. Raises
        InvalidRequest or ModelNotFound."""
        changes = session or {"type": "transcription"}
        match changes.get("type"):
            case "transcription":
                config = TranscriptionConfig().updated(changes, None)
            case "realtime":
                config = CallConfig().updated(changes, None)
                await self._voice.check(config.voice_options)
            case other:
                raise InvalidRequest(
                    f"The session type {str(other)[:80]!r} is unknown; expected "
                    "'transcription' or 'realtime'.",
                    param="session.type",
                )
        self._recognition.check(config.audio.input.live_options)
        return config

    def issue_secret(self, config: SessionConfig, seconds: int) -> dict[str, Any]:
        """OpenAI's response for a new client secret. Raises InvalidRequest if the secret would not
        fit into a header."""
        expires_at = int(time()) + seconds
        changes = {"type": config.type, **config.model_dump(exclude_defaults=True)}
        value = self._secrets.issue(changes, expires_at)
        if len(value) > MAX_SECRET_CHARS:
            raise InvalidRequest(
                "The session is too large for a client secret; send its instructions and tools "
                "with session.update.",
                param="session",
                code="session_too_large",
            )
        session_id, until = new_id("sess"), self._expiry()
        if isinstance(config, CallConfig):
            session = describe_call(config, session_id, until)
        else:
            session = describe_session(config, session_id, until)
        return {
            "value": value,
            "expires_at": expires_at,
            "session": session,
        }

    async def serve(self, socket: WebSocket, config: SessionConfig, session_id: str) -> None:
        """Serve the session of an accepted connection until it ends."""
        settings = self.settings
        outbox = Outbox()
        bounds = Bounds(
            settings.realtime_max_session_seconds,
            settings.realtime_idle_timeout,
            settings.realtime_send_timeout,
            max(0.0, settings.shutdown_grace - 2 * LAST_SECONDS),
        )
        stopping: asyncio.Event = socket.scope["state"].get("stopping") or asyncio.Event()
        session = self._session(config, session_id, outbox)
        end = await Connection(socket, session, outbox, bounds, stopping).run()
        self._metrics.ended(end)
        logger.info("the session ended (%s)", end)

    def _session(self, config: SessionConfig, session_id: str, outbox: Outbox) -> Session:
        """Create a session of the type given by `config`."""
        settings = self.settings
        items = Items(outbox)
        hearing = Hearing(
            self._recognition,
            items,
            self._metrics,
            session_id=session_id,
            max_buffer_seconds=settings.realtime_max_buffer_seconds,
        )
        if isinstance(config, CallConfig):
            return CallSession(
                session_id,
                config,
                hearing,
                items,
                self._voice,
                outbox,
                self._metrics,
                expires_at=self._expiry(),
                max_prompt_chars=settings.max_prompt_chars,
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
    """The realtime service of the process that handles `connection`."""
    return cast(RealtimeService, connection.state.realtime)
