"""HTTP/1.1 as clients speak it: uvicorn's h11 protocol, which also answers half-closed connections.

h11 and not httptools: httptools drops the body of a request that offers an upgrade (`Upgrade: h2c`,
as the JDK's HttpClient and `curl --http2` send it) and chunks answers to HTTP/1.0.
"""

import json
import socket

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from vibevoice_proxy.errors import error_body

HALF_CLOSE_SECONDS = 0.03
"""A client that half-closes does so right after its request; a later end is a hang-up."""
PROBE_SECONDS = 0.5
"""Between two looks at whether a client that closed its sending side still listens."""


class HttpProtocol(H11Protocol):
    """One connection.

    A client that ends its side of a connection after a whole request may still wait for the answer
    (`shutdown(SHUT_WR)`, `nc -N`), or may be gone: TCP tells no difference until something is sent.
    So until the answer begins, an interim response, `100 Continue`, is sent now and then, which
    clients skip; where nobody listens, the connection breaks and the work is stopped.
    """

    _last_data = 0.0
    """When data came last, on the loop's clock."""

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
        """Answer what is not HTTP, in OpenAI's shape."""
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
            pass  # an answer is on its way already; closing tells the client
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
