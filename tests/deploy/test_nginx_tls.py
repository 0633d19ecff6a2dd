"""deploy/nginx-tls.conf in a real nginx, in front of a real proxy with keys."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from pydantic import SecretStr
from tests.support.fakes import FakeEngine, serve
from tests.support.nginx import start_tls
from tests.support.recordings import tone, wav
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[str, ssl.SSLContext]]:
    """nginx's base URL and the clients' TLS settings; the proxy has an old and a new key."""
    with serve(FakeEngine().app()) as engine:
        keys = (SecretStr("old-key"), SecretStr("new-key"))
        settings = Settings(asr_base_url=engine, tts_model_type="off", api_keys=keys)
        with (
            serve(create_app(settings)) as proxy,
            start_tls(proxy, tmp_path) as (url, certificate),
        ):
            yield url, ssl.create_default_context(cafile=certificate)


def test_a_client_transcribes_over_tls(secure: tuple[str, ssl.SSLContext]) -> None:
    """While keys are rotated, the old and the new one work; others get a 401."""
    url, context = secure
    http = openai.DefaultHttpxClient(verify=context)
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0, http_client=http) as made:
        for key in ("old-key", "new-key"):
            client = made.with_options(api_key=key)
            heard = client.audio.transcriptions.create(
                model="whisper-1", file=("a.wav", wav(tone(2.0)))
            )
            assert heard.text == "Good morning. Hello."
        # Without an upload: nginx may respond with a 502 if the proxy rejects one while it is sent.
        with pytest.raises(openai.AuthenticationError):
            made.audio.speech.create(model="tts-1", voice="alloy", input="Hello.")


async def test_a_realtime_session_over_tls(secure: tuple[str, ssl.SSLContext]) -> None:
    """WebSockets pass through, with the proxy's check of the key."""
    url, context = secure
    address = url.replace("https:", "wss:") + "/v1/realtime?intent=transcription"
    headers = {"authorization": "Bearer new-key"}
    async with connect(address, additional_headers=headers, ssl=context) as session:
        assert "session.created" in str(await session.recv())
    with pytest.raises(InvalidStatus, match="401"):
        async with connect(address, ssl=context):
            pass
