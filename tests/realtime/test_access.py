"""Access to realtime sessions: keys in headers and subprotocols, and client secrets."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Iterator
from time import time

import httpx2
import openai
import pytest
from tests.realtime.conftest import light_proxy
from tests.support.metrics import samples_when
from tests.support.realtime import TRANSCRIPTION, session
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from vibevoice_proxy.client_secrets import ClientSecrets

KEY = "sk-only"
OPEN = ("vibevoice_realtime_sessions_open",)


@pytest.fixture(scope="module")
def closed(model_folder: object) -> Iterator[str]:
    """A proxy that requires a key."""
    with light_proxy(api_keys=KEY) as url:
        yield url


def address(base: str, query: str = "?intent=transcription", path: str = "/v1/realtime") -> str:
    return f"{base.replace('http', 'ws', 1)}{path}{query}"


async def status_of(url: str, *protocols: str) -> int:
    """The HTTP status of a handshake; 101 if a session is opened."""
    offered = [Subprotocol(name) for name in protocols] or None
    try:
        async with connect(url, subprotocols=offered):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


async def test_keys(closed: str) -> None:
    """Keys are accepted in the header and in the subprotocol for browsers; missing and wrong keys
    are rejected."""
    async with session(closed, KEY):
        pass
    url = address(closed)
    assert await status_of(url, "realtime", f"openai-insecure-api-key.{KEY}") == 101
    assert await status_of(url, "realtime", "openai-insecure-api-key.sk-other") == 401
    assert await status_of(url) == 401
    async with connect(
        url, subprotocols=[Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{KEY}")]
    ) as held:
        assert held.subprotocol == "realtime"


async def test_client_secrets(closed: str) -> None:
    """A secret only opens sessions, with its own configuration regardless of the query."""
    before = int(time())
    with openai.OpenAI(base_url=f"{closed}/v1", api_key=KEY) as client:
        audio = {"input": {"turn_detection": None, "transcription": {"language": "en"}}}
        secret = client.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60},
            session={"type": "transcription", "audio": audio},  # type: ignore[typeddict-item]
        )
    assert secret.value.startswith("ek_")
    assert secret.session.type == "transcription"
    assert before + 60 <= secret.expires_at <= time() + 60
    url = address(closed, "")
    assert await status_of(url, "realtime", f"openai-insecure-api-key.{secret.value}") == 101
    async with session(closed, secret.value) as held:
        heard = held.events[0]["session"]["audio"]["input"]
        assert heard["turn_detection"] is None
        assert heard["transcription"]["language"] == "en"
    other = {"authorization": f"Bearer {secret.value}"}
    assert httpx2.get(f"{closed}/metrics", headers=other, timeout=60).status_code == 401
    assert (
        httpx2.post(f"{closed}/v1/realtime/client_secrets", headers=other, timeout=60).status_code
        == 401
    )
    altered = secret.value[:-2] + ("AA" if secret.value[-2:] != "AA" else "BB")
    assert await status_of(url, "realtime", f"openai-insecure-api-key.{altered}") == 401
    expired = ClientSecrets([KEY]).issue({"type": "transcription"}, int(time()) - 1)
    assert await status_of(url, "realtime", f"openai-insecure-api-key.{expired}") == 401


async def test_paths_without_v1(closed: str) -> None:
    """Sessions and client secrets also work if the base URL lacks /v1, with the same keys."""
    with openai.OpenAI(base_url=closed, api_key=KEY) as client:
        secret = client.realtime.client_secrets.create(session={"type": "transcription"})
    url = address(closed, path="/realtime")
    assert await status_of(url, "realtime", f"openai-insecure-api-key.{secret.value}") == 101
    assert await status_of(url, "realtime", "openai-insecure-api-key.sk-other") == 401
    base = closed.replace("http", "ws", 1)
    async with openai.AsyncOpenAI(
        base_url=closed, websocket_base_url=base, api_key=KEY
    ).realtime.connect(extra_query={"intent": "transcription"}) as connection:
        assert (await connection.recv()).type == "session.created"


async def test_client_secrets_without_api_keys(base: str, closed: str) -> None:
    """Another replica without keys accepts the secrets and their configuration; a server with keys
    rejects them."""
    configuration = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
    secret = ClientSecrets([]).issue(configuration, int(time()) + 60)
    async with session(base, secret) as held:
        assert held.events[0]["session"]["audio"]["input"]["turn_detection"] is None
    assert await status_of(address(closed), f"openai-insecure-api-key.{secret}") == 401


def test_secrets_do_not_let_weak_keys_be_guessed() -> None:
    """Each guess of the keys costs one scrypt. The signature is the same in every process with the
    same keys."""
    text, _, signature = ClientSecrets(["b", "a"]).issue({}, 0).removeprefix("ek_").partition(".")
    key = hashlib.scrypt(b"a\nb", salt=b"vibevoice client secret", n=2**14, r=8, p=5, dklen=32)
    expected = hmac.digest(key, text.encode(), "sha256")
    assert base64.urlsafe_b64decode(signature + "=") == expected


@pytest.mark.parametrize("value", ["ek_", "ek_.", "ek_x.y", "ek_é.é", "ek_" + "A" * 1000])
def test_what_is_no_secret(value: str) -> None:
    """Invalid secrets are rejected without an exception."""
    assert ClientSecrets([KEY]).read(value) is None


@pytest.mark.parametrize("text", ["A", "é", "bnVsbA", "e30"])
def test_what_anybody_can_sign(text: str) -> None:
    """Without API keys the signing key is public, so a valid signature proves nothing. Signed
    payloads that are not base64, `null` or `{}` are rejected without an exception."""
    digest = hmac.digest(bytes(32), text.encode(), "sha256")
    signature = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert ClientSecrets([]).read(f"ek_{text}.{signature}") is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"expires_after": {"seconds": 5}}, "expires_after.seconds"),
        ({"session": {"type": "spoken"}}, "session.type"),
        ({"session": {"type": "transcription", "audio": {"output": {}}}}, "session.audio.output"),
        ({"expires": 5}, "expires"),
    ],
)
def test_requests_for_secrets_are_checked(base: str, body: object, param: str) -> None:
    """The response says what is wrong."""
    answer = httpx2.post(f"{base}/v1/realtime/client_secrets", json=body, timeout=60)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


async def test_too_many_sessions(model_folder: object) -> None:
    """A session above the limit gets a 429, and a slot is free again when a session has ended."""
    with (
        light_proxy(realtime_max_sessions=2) as url,
        httpx2.Client(base_url=url, timeout=60) as http,
    ):
        async with session(url), session(url) as second:
            assert await status_of(address(url)) == 429
            await second.connection.close()
            await asyncio.to_thread(samples_when, http, lambda found: found[OPEN] == 1)
            assert await status_of(address(url)) == 101


async def test_the_query(base: str) -> None:
    """Without a speech model, a voice call gets a 404; unsupported values in later events are
    errors."""
    assert await status_of(address(base, "?model=gpt-realtime")) == 404
    assert await status_of(address(base, "?intent=dictation")) == 400
    async with session(base) as client:
        answer = await client.update(transcription={"languages": ["fr", "en"]})
        assert answer["type"] == "session.updated"
        answer = await client.update(transcription={"language": "fr"})
        assert answer["error"]["code"] == "unsupported_language"
        assert answer["error"]["param"] == "session.audio.input.transcription.language"
        assert not [event for event in client.events if event["type"].startswith(TRANSCRIPTION)]


@pytest.mark.parametrize("name", ["auto", "Detect Language", "null", "", None])
async def test_an_automatic_language_is_unset(base: str, name: str | None) -> None:
    """As in a form, it means any language, also after another one was set. The light recognizer,
    which only supports English, accepts it."""
    async with session(base) as client:
        await client.update(transcription={"language": "en", "languages": ["en"]})
        answer = await client.update(
            transcription={"language": name, "languages": [name or "auto"]}
        )
        assert answer["type"] == "session.updated"
        heard = answer["session"]["audio"]["input"]["transcription"]
        assert heard.keys().isdisjoint({"language", "languages"})
        answer = await client.update(transcription={"languages": ["auto", "fr"]})
        assert answer["error"]["code"] == "unsupported_language"
