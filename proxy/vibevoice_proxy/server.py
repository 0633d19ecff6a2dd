"""Runs the HTTP server and shuts it down gracefully."""

import asyncio
import logging
import socket
import sys

import uvicorn
from starlette.types import ASGIApp

from vibevoice_proxy.http_protocol import HttpProtocol
from vibevoice_proxy.listening import BACKLOG, open_sockets, url_of
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.stopping import REST_SECONDS, Stopping
from vibevoice_proxy.websocket_protocol import WebSocketProtocol

STARTUP_FAILURE = 3
"""Exit code when the application cannot start."""
POLL_SECONDS = 0.05

logger = logging.getLogger(__name__)


def serve(app: ASGIApp, settings: Settings) -> None:
    """Serve `app` until SIGTERM or SIGINT. Exits the process if it cannot listen."""
    try:
        sockets = open_sockets(settings.api_host, settings.api_port)
    except ValueError as error:
        sys.exit(f"Invalid settings: {error}")
    stopping = Stopping(app)
    config = uvicorn.Config(
        stopping,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=settings.realtime_max_message_bytes,
        # If a client sends faster than real time, its pongs queue behind its audio. The idle
        # timeout closes dead connections instead.
        ws_ping_timeout=None,
        ws_per_message_deflate=False,  # audio does not compress, and trying costs time
        log_config=None,
        access_log=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=settings.shutdown_grace,
    )
    server = _Server(config, stopping, settings.shutdown_grace)
    try:
        server.run(sockets)
    except KeyboardInterrupt:
        pass  # Ctrl-C, raised again by uvicorn after a graceful shutdown
    if not server.started:
        sys.exit(STARTUP_FAILURE)


class _Server(uvicorn.Server):
    """Keeps responding until all requests in flight are done. By default, uvicorn refuses new
    connections at once and sends a plain 500 to clients that it cuts off."""

    def __init__(self, config: uvicorn.Config, stopping: Stopping, grace: float) -> None:
        """`grace`: seconds that requests in flight get to finish."""
        super().__init__(config)
        self._stopping = stopping
        self._grace = grace

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            logger.info("running on %s", url_of(listener))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + self._grace
        self._stopping.begin()
        logger.info("shutting down with %d requests in flight", self._stopping.in_flight)
        await self._wait(end)
        if self._stopping.in_flight and not self.force_exit:
            logger.warning("cutting off %d requests", self._stopping.in_flight)
            self._stopping.cut()
            await self._wait(clock() + REST_SECONDS + 1)
        # uvicorn only has to flush the connections' buffers now
        self.config.timeout_graceful_shutdown = max(1, int(end - clock()))
        await super().shutdown(sockets)

    async def _wait(self, end: float) -> None:
        """Wait until nothing is in flight, or until `end` on the loop's clock."""
        clock = asyncio.get_running_loop().time
        while self._stopping.in_flight and clock() < end and not self.force_exit:
            await asyncio.sleep(POLL_SECONDS)
