"""uvicorn's h11 protocol, extended to respond on half-closed connections.

It uses h11 rather than httptools because httptools drops the body of a request that offers an
upgrade (`Upgrade: h2c`, as sent by the JDK's HttpClient and `curl --http2`) and sends chunked
responses to HTTP/1.0 clients.
"""

import json
import socket

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from vibevoice_proxy.errors import error_body

HALF_CLOSE_SECONDS = 0.25
"""A client that half-closes does so right after its request, if the machine is not too busy; a
later EOF is a disconnect."""
PROBE_SECONDS = 0.5
"""Interval between checks whether a half-closed client is still connected."""


class HttpProtocol(H11Protocol):
    """One connection.

    A client that closes its sending side after a complete request may still be waiting for the
    response (`shutdown(SHUT_WR)`, `nc -N`), or it may be gone: TCP cannot tell the difference until
    something is sent. So until the response begins, the server periodically sends the interim
    response `100 Continue`, which clients ignore. If the client is gone, the connection fails and
    the work is stopped.
    """

    _last_data = 0.0
    """When data last arrived, on the loop's clock."""

    def data_received(self, data: bytes) -> None:
        self._last_data = self.loop.time()
        super().data_received(data)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        is_late = self.loop.time() - self._last_data > HALF_CLOSE_SECONDS
        if is_late or self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            return None
        self.cycle.keep_alive = False
        self.loop.call_later(PROBE_SECONDS, self._probe)
        return True

    def send_400_response(self, msg: str) -> None:
        """Respond to invalid HTTP with an OpenAI-style error."""
        body = json.dumps(error_body(msg, type="invalid_request_error")).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        try:
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:
            pass  # a response has already started; closing signals the error
        self.transport.close()

    def _probe(self) -> None:
        if self.transport.is_closing() or self.cycle.response_complete:
            return
        found = self.transport.get_extra_info("socket")
        if found is not None and found.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
            return
        if not self.cycle.response_started and self.scope["http_version"] == "1.1":
            probe = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            self.transport.write(self.conn.send(probe) or b"")
        self.loop.call_later(PROBE_SECONDS, self._probe)
