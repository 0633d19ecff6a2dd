"""Network paths to a server: OpenSSL certificates, TLS termination and a forward proxy."""

import base64
import contextlib
import select
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate and its key, as PEM files."""

    cert: Path
    key: Path


def certificate(folder: Path, *names: str) -> Certificate:
    """A new certificate for `names` in OpenSSL's format: `DNS:localhost`, `IP:127.0.0.1`."""
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    arguments = ["-subj", "/CN=test", "-addext", f"subjectAltName={','.join(names)}"]
    files = ["-keyout", str(made.key), "-out", str(made.cert)]
    try:
        subprocess.run([*command.split(), *arguments, *files], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl, to make a certificate")
    return made


class _Pipes(socketserver.ThreadingTCPServer):
    """A server whose connections are piped to other servers."""

    daemon_threads = True
    allow_reuse_address = True

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


def _pipe(one: socket.socket, other: socket.socket) -> None:
    """Copy data until either side ends."""
    while True:
        pending = isinstance(one, ssl.SSLSocket) and one.pending()
        for side in [one] if pending else select.select([one, other], [], [])[0]:
            data = side.recv(65536)
            if not data:
                return
            (other if side is one else one).sendall(data)


@contextmanager
def _served(server: _Pipes) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def tls(url: str, certificate: Certificate) -> Iterator[str]:
    """TLS termination for the server at `url`; yields the base URL, `https://127.0.0.1:…`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    target = urlsplit(url)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(
                OSError
            ):  # a client that does not trust the certificate disconnects
                with context.wrap_socket(self.request, server_side=True) as inside:
                    with socket.create_connection((target.hostname, target.port)) as server:
                        _pipe(inside, server)

    with _Pipes(("127.0.0.1", 0), Handler) as server, _served(server):
        yield f"https://{server.address}"


class ForwardProxy:
    """A forward proxy for http:// and, with CONNECT, https://; a context manager."""

    def __init__(self, login: str | None = None, refusal: str | None = None) -> None:
        """`login`: required USER:PASSWORD. `refusal`: status line of its response to every
        request."""
        self.asked: list[str] = []
        """Request lines received."""
        self._login = base64.b64encode(login.encode()).decode() if login else None
        self._refusal = refusal

    def __enter__(self) -> "ForwardProxy":
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    proxy._handle(self.request)

        self._server = _Pipes(("127.0.0.1", 0), Handler)
        self._served = _served(self._server)
        self._served.__enter__()
        self.url = f"http://{self._server.address}"
        return self

    def __exit__(self, *_: object) -> None:
        self._served.__exit__(None, None, None)

    def _handle(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(65536)
            if not data:
                return
            head += data
        line, _, rest = head.partition(b"\r\n")
        method, target, _ = line.decode().split(" ")
        self.asked.append(f"{method} {target}")
        refusal = self._refusal
        if self._login and f"proxy-authorization: basic {self._login}".lower() not in (
            rest.partition(b"\r\n\r\n")[0].decode().lower()
        ):
            refusal = "407 Proxy Authentication Required"
        if refusal:
            client.sendall(f"HTTP/1.1 {refusal}\r\ncontent-length: 0\r\n\r\n".encode())
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):  # otherwise a reset may overtake the response
                pass
            return
        url = urlsplit(target if "://" in target else f"//{target}")
        with socket.create_connection((url.hostname, url.port)) as server:
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                path = f"{url.path}?{url.query}" if url.query else url.path
                server.sendall(f"{method} {path} HTTP/1.1\r\n".encode() + rest)
            _pipe(client, server)
