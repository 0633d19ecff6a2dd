"""Requests from pages of other origins, to a server with and without API keys."""

from collections.abc import Iterator, Mapping

import httpx2
import pytest
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine, StartProxy, serve
from tests.support.recordings import tone, wav

from vibevoice_proxy.app import create_app
from vibevoice_proxy.http_protocol import HttpProtocol
from vibevoice_proxy.settings import Settings

pytest_plugins = ("tests.support.proxy_fixtures",)

SPEECH = wav(tone(2.0))
EVIL = "https://evil.example"
PAGE = "https://page.example"
KEY = {"authorization": "Bearer k"}
HANDSHAKE = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}
CASES = [
    pytest.param({}, True, id="a program"),
    pytest.param({"host": "vibevoice"}, True, id="a program behind nginx"),
    pytest.param({"origin": "{url}"}, True, id="our page"),
    pytest.param({"origin": "{url}", "sec-fetch-site": "same-origin"}, True, id="our page, named"),
    pytest.param({"origin": PAGE, "sec-fetch-site": "cross-site"}, True, id="a listed page"),
    pytest.param({"origin": PAGE, "host": "page.example"}, True, id="a listed page at its host"),
    pytest.param(
        {"origin": PAGE, "host": "page.example", "sec-fetch-site": "same-origin"},
        True,
        id="our page behind nginx",
    ),
    pytest.param({"origin": "http://localhost:1", "host": "LOCALHOST:1"}, True, id="localhost"),
    pytest.param({"origin": "http://[::1]:1", "host": "[::1]:1"}, True, id="IPv6"),
    pytest.param({"origin": "http://a.localhost", "host": "a.localhost"}, True, id="below it"),
    pytest.param({"sec-fetch-site": "none"}, True, id="the user"),
    pytest.param({"origin": EVIL}, False, id="a foreign page"),
    pytest.param({"origin": EVIL, "sec-fetch-site": "cross-site"}, False, id="foreign, named"),
    pytest.param({"origin": "http://127.0.0.1:1"}, False, id="another port"),
    pytest.param({"origin": "http://localhost:1", "sec-fetch-site": "same-site"}, False, id="site"),
    pytest.param({"origin": "null"}, False, id="a sandboxed page"),
    pytest.param({"sec-fetch-site": "cross-site"}, False, id="without an origin"),
    pytest.param({"origin": EVIL, "host": "evil.example"}, False, id="DNS rebinding"),
    pytest.param(
        {"origin": EVIL, "host": "evil.example", "sec-fetch-site": "same-origin"},
        False,
        id="DNS rebinding, named",
    ),
    pytest.param({"origin": EVIL, "host": "127.0.0.1.evil.example"}, False, id="a similar name"),
    pytest.param({"origin": EVIL, "host": "[evil"}, False, id="an invalid host"),
]


def filled(headers: Mapping[str, str], url: str) -> dict[str, str]:
    """`headers` with the URL of the server."""
    return {name: value.format(url=url) for name, value in headers.items()}


def check_refusal(body: bytes) -> None:
    """Check for an error that names the setting."""
    error = httpx2.Response(403, content=body).json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "forbidden")
    assert "VIBEVOICE_CORS_ORIGINS" in error["message"]


@pytest.fixture(scope="module")
def url(fake_engine_url: str) -> Iterator[str]:
    """A proxy without keys that lists one origin."""
    settings = Settings(asr_base_url=fake_engine_url, tts_model_type="off", cors_origins=(PAGE,))
    with serve(create_app(settings), protocol=HttpProtocol) as url:
        yield url


@pytest.mark.parametrize(("headers", "is_allowed"), CASES)
def test_http(headers: dict[str, str], is_allowed: bool, url: str, fake_engine: FakeEngine) -> None:
    """A form from a foreign page is rejected before anything is processed."""
    answer = httpx2.post(
        url + TRANSCRIPTIONS,
        files={"file": ("a", SPEECH)},
        headers=filled(headers, url),
        timeout=60,
    )
    assert answer.status_code == (200 if is_allowed else 403)
    if not is_allowed:
        check_refusal(answer.content)
        assert answer.headers["x-request-id"].startswith("req_")
        assert fake_engine.asked == 0


@pytest.mark.parametrize(("headers", "is_allowed"), CASES)
def test_websockets(headers: dict[str, str], is_allowed: bool, url: str) -> None:
    """A handshake from a foreign page is rejected."""
    address = f"{url}/v1/realtime?intent=transcription"
    with httpx2.stream(
        "GET", address, headers={**HANDSHAKE, **filled(headers, url)}, timeout=60
    ) as answer:
        assert answer.status_code == (101 if is_allowed else 403)
        if not is_allowed:
            check_refusal(answer.read())


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH"])
def test_other_unsafe_methods(method: str, http: httpx2.Client) -> None:
    """Other methods that change something are rejected in the same way, without any listed
    origin."""
    answer = http.request(method, "/v1/audio/voices/x", headers={"origin": EVIL})
    assert answer.status_code == 403
    check_refusal(answer.content)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_safe_methods(method: str, http: httpx2.Client) -> None:
    """Foreign pages may link to this server, but not under their own host name."""
    foreign = {"origin": EVIL, "sec-fetch-site": "cross-site"}
    assert http.request(method, "/health/live", headers=foreign).status_code in (200, 405)
    rebound = {"sec-fetch-site": "same-origin", "host": "evil.example"}
    assert http.request(method, "/health/live", headers=rebound).status_code == 403


@pytest.mark.parametrize(
    ("settings", "headers", "status"),
    [
        pytest.param({"api_keys": "k"}, {"origin": EVIL, **KEY}, 200, id="with keys"),
        pytest.param({"cors_origins": "*"}, {"origin": EVIL}, 200, id="any origin"),
        pytest.param({"cors_origins": "*"}, {"origin": EVIL, "host": "x"}, 200, id="any host"),
        pytest.param(
            {"api_host": "0.0.0.0"}, {"origin": EVIL, "host": "evil.example"}, 200, id="open"
        ),
        pytest.param(
            {"api_host": "0.0.0.0"}, {"origin": EVIL, "host": "a"}, 403, id="open, foreign"
        ),
        pytest.param({"api_host": "::1"}, {"origin": EVIL, "host": "evil.example"}, 403, id="IPv6"),
        pytest.param(
            {"api_host": "localhost"}, {"origin": EVIL, "host": "evil.example"}, 403, id="name"
        ),
    ],
)
def test_settings(
    settings: dict[str, str], headers: dict[str, str], status: int, start_proxy: StartProxy
) -> None:
    """API keys make the check unnecessary, `*` disables it, and host names are only checked on a
    loopback address."""
    answer = httpx2.post(
        start_proxy(**settings) + TRANSCRIPTIONS,
        files={"file": ("a", SPEECH)},
        headers=headers,
        timeout=60,
    )
    assert answer.status_code == status
