"""HTTP from real programs and unusual clients, over real sockets."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine, StartProxy
from tests.support.metrics import samples_when
from tests.support.processes import wait_for
from tests.support.recordings import tone, wav

from vibevoice_proxy import http_protocol
from vibevoice_proxy.normalize import normalize_path

pytest_plugins = ("tests.support.proxy_fixtures",)

SPEECH = wav(tone(2.0))
TEXT = "Good morning. Hello."
JAVA = Path(__file__).with_name("Transcribe.java")


def form(**fields: str) -> bytes:
    """A multipart body with the recording and these fields; the boundary is `b`."""
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    return b"".join(parts) + head + SPEECH + b"\r\n--b--\r\n"


def request(version: str, body: bytes, *headers: str, path: str = TRANSCRIPTIONS) -> bytes:
    """A complete POST request."""
    lines = [
        f"POST {path} HTTP/{version}",
        "Host: x",
        "Content-Type: multipart/form-data; boundary=b",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def exchange(url: str, data: bytes, *, half_close: bool = False) -> bytes:
    """Everything received until the server closes the connection."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as client:
        client.sendall(data)
        if half_close:
            client.shutdown(socket.SHUT_WR)
        answer = b""
        while found := client.recv(65536):
            answer += found
    return answer


UPGRADES = [
    pytest.param(
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB"),
        id="h2c",
    ),
    pytest.param(("Connection: upgrade", "Upgrade: TLS/1.2"), id="tls"),
    pytest.param(("Connection: close, Upgrade", "Upgrade: foo/1, h2c"), id="several"),
    pytest.param(("Upgrade: h2c",), id="without-connection"),
]


@pytest.mark.parametrize("headers", UPGRADES)
def test_an_offer_to_upgrade_is_ignored(headers: tuple[str, ...], start_proxy: StartProxy) -> None:
    """The body is read, and the response is HTTP/1.1."""
    headers = tuple(h for h in headers if "close" not in h) + ("X-Last: 1",)
    data = request("1.1", form(), *headers)
    closing = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = exchange(start_proxy(), data + closing)
    assert answer.startswith(b"HTTP/1.1 200")
    assert TEXT.encode() in answer


@pytest.mark.parametrize("chunked", [False, True])
def test_curl_may_offer_http2(chunked: bool, start_proxy: StartProxy, tmp_path: Path) -> None:
    """`curl --http2` with an http:// URL offers such an upgrade."""
    recording = tmp_path / "a.wav"
    recording.write_bytes(SPEECH)
    command = ["curl", "-sS", "--http2", "--max-time", "30", "-F", f"file=@{recording}"]
    command += ["-H", "Transfer-Encoding: chunked"] if chunked else []
    found = subprocess.run(
        [*command, start_proxy() + TRANSCRIPTIONS], capture_output=True, text=True, check=True
    )
    assert TEXT in found.stdout


@pytest.mark.skipif(not shutil.which("javac"), reason="needs a JDK (Debian: default-jdk-headless)")
def test_the_client_of_the_jdk_gets_an_answer(start_proxy: StartProxy, tmp_path: Path) -> None:
    """java.net.http.HttpClient, as used by Spring AI and LangChain4j, offers h2c."""
    recording = tmp_path / "a.wav"
    recording.write_bytes(SPEECH)
    found = subprocess.run(
        ["java", JAVA, start_proxy(), recording], capture_output=True, text=True, check=False
    )
    assert found.stdout.splitlines() == ["200 length", "200 chunked", "200 get"], found.stderr


@pytest.mark.parametrize("stream", ["false", "true"])
def test_http_1_0_gets_a_body_without_chunks(stream: str, start_proxy: StartProxy) -> None:
    """The end of the connection ends the body, as in HTTP/1.0."""
    answer = exchange(start_proxy(), request("1.0", form(stream=stream)))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"transfer-encoding" not in head.lower()
    assert TEXT.encode() in body
    if stream == "true":
        assert body.startswith(b"data: {")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("stream", ["false", "true"])
@pytest.mark.parametrize("seconds", [0.0, 1.6])
def test_a_half_closed_connection_is_answered(
    seconds: float,
    stream: str,
    version: str,
    start_proxy: StartProxy,
    fake_engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client may close its sending side after the request; only interim responses are added."""
    monkeypatch.setattr(http_protocol, "HALF_CLOSE_SECONDS", 60.0)  # this client may be slow
    fake_engine.seconds = seconds
    answer = exchange(start_proxy(), request(version, form(stream=stream)), half_close=True)
    while answer.startswith(b"HTTP/1.1 100"):
        assert version == "1.1"
        answer = answer.partition(b"\r\n\r\n")[2]
    assert answer.startswith(b"HTTP/1.1 200")
    assert TEXT.encode() in answer


@pytest.mark.parametrize("limit", [60.0, 0.0], ids=["at-once", "later"])
def test_a_client_that_is_gone_is_told_from_a_half_closed_one(
    limit: float,
    start_proxy: StartProxy,
    fake_engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disconnect right after the request is noticed within a few probes, a later one at once; the
    engine would never answer."""
    monkeypatch.setattr(http_protocol, "HALF_CLOSE_SECONDS", limit)
    fake_engine.stall_after = 0
    url = start_proxy(max_concurrency=1)
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as client:
        client.sendall(request("1.1", form()))
        if not limit:
            wait_for(lambda: fake_engine.at_once == 1)
    with httpx2.Client(base_url=url, timeout=60) as http:
        ended = ("vibevoice_request_seconds_count", TRANSCRIPTIONS)
        samples_when(http, lambda found: ended in found)
    wait_for(lambda: fake_engine.at_once == 0)


def test_a_request_that_ends_early_is_not_answered(start_proxy: StartProxy) -> None:
    """If the connection ends after half a body, there is no response."""
    assert exchange(start_proxy(), request("1.1", form())[:-100], half_close=True) == b""


def test_what_is_not_http_gets_an_error_body(start_proxy: StartProxy) -> None:
    """TLS on the plain port, for instance."""
    answer = exchange(start_proxy(), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"type": "invalid_request_error"' in answer


@pytest.mark.parametrize(
    "path",
    ["/", "/health", "/health/live", "/metrics", "/v1/models", "/v1/models/vibevoice", "/docs",
     "/openapi.json", "/v1/audio/models", "/v1/audio/voices"],
)  # fmt: skip
def test_head_is_answered_wherever_get_is(path: str, http: httpx2.Client) -> None:
    """The response has the same status and headers, but no body."""
    get, head = http.get(path), http.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"") == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


def test_head_of_a_post_route_is_a_405(http: httpx2.Client) -> None:
    """Just like GET."""
    assert http.head(TRANSCRIPTIONS).status_code == http.get(TRANSCRIPTIONS).status_code == 405


@pytest.mark.skipif(not shutil.which("wget"), reason="needs wget")
@pytest.mark.parametrize("path", ["/health", "/health/live", "/v1/models", "/metrics"])
def test_wget_may_look(path: str, start_proxy: StartProxy) -> None:
    """`wget --spider`, as used in container health checks."""
    subprocess.run(["wget", "-q", "--spider", "--tries=1", start_proxy() + path], check=True)


def test_httpie_uploads_any_name(start_proxy: StartProxy, tmp_path: Path) -> None:
    """For a non-ASCII name, it sends only `filename*`."""
    recording = tmp_path / "запись.wav"
    recording.write_bytes(SPEECH)
    url = start_proxy() + TRANSCRIPTIONS
    command = ["-m", "httpie", "--ignore-stdin", "--check-status", "--form", url]
    found = subprocess.run(
        [sys.executable, *command, f"file@{recording}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, TEXT in found.stdout) == (0, True), found.stderr + found.stdout


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("//", "/"),
        ("/v1/models/", "/v1/models"),
        ("//v1/audio/speech", "/v1/audio/speech"),
        ("/v1//audio///speech//", "/v1/audio/speech"),
        ("/v1/v1/audio/speech", "/v1/audio/speech"),
        ("/v1/v1/v1/models", "/v1/models"),
        ("/v1/v1", "/v1"),
        ("/v1/v10/x", "/v1/v10/x"),
        ("/audio/v1/v1x", "/audio/v1/v1x"),
    ],
)
def test_paths(path: str, expected: str) -> None:
    """Extra slashes, and a base URL that already has `/v1`."""
    assert normalize_path(path) == expected


@pytest.mark.parametrize(
    "path",
    ["/v1/v1/audio/transcriptions", "//v1/audio/transcriptions", "/v1/audio/transcriptions/"],
)
def test_such_paths_are_served_at_once(path: str, http: httpx2.Client) -> None:
    """Such paths are not redirected, since clients do not follow redirects with a body."""
    answer = http.post(path, files={"file": ("a", SPEECH)})
    assert (answer.status_code, answer.json()["text"]) == (200, TEXT)


def test_normalized_paths_need_keys_as_others_do(start_proxy: StartProxy) -> None:
    """No spelling of a path bypasses the key check."""
    url = start_proxy(api_keys="secret", open_listings=False)
    for path in ("/v1/models", "//v1/models", "/v1/v1/models/", "/v1/models/"):
        assert (
            httpx2.get(url + path, timeout=60).status_code
            == httpx2.head(url + path).status_code
            == 401
        )
    for path in ("/health", "//health/", "/health/live/"):
        assert httpx2.get(url + path, timeout=60).status_code == 200
