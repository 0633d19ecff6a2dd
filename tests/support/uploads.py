"""A transcription request over a bare socket, from a client that may disconnect at any time."""

import socket
from urllib.parse import urlsplit

import httpx2
from tests.support.fakes import TRANSCRIPTIONS


def start_upload(url: str, data: bytes, **fields: str) -> socket.socket:
    """A connection to the server at `url` on which the whole request was sent but nothing was
    read."""
    files = {"file": ("upload", data)}
    request = httpx2.Request("POST", url + TRANSCRIPTIONS, data=fields, files=files)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    connection = socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=60)
    connection.sendall(f"POST {TRANSCRIPTIONS} HTTP/1.1\r\n{head}\r\n".encode() + request.read())
    return connection
