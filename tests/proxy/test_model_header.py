"""The response header that names the recognizer."""

import httpx2
from tests.support.fakes import TRANSCRIPTIONS, StartProxy
from tests.support.recordings import tone, wav

from vibevoice_proxy.transcription.formats import RESPONSE_FORMATS

pytest_plugins = ("tests.support.proxy_fixtures",)

SPEECH = wav(tone(0.5))
PAGE = "https://page.example"


def test_every_response_names_the_model(start_proxy: StartProxy) -> None:
    """In every format and in streams, an unknown name shows which model answered. Pages of other
    origins may read the header."""
    url = start_proxy(cors_origins=PAGE) + TRANSCRIPTIONS
    for name in ("whisper-99", "vibevoice"):
        for more in [*({"response_format": one} for one in RESPONSE_FORMATS), {"stream": "true"}]:
            answer = httpx2.post(
                url,
                data={"model": name, **more},
                files={"file": ("upload", SPEECH)},
                headers={"origin": PAGE},
                timeout=60,
            )
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-vibevoice-model"] == "vibevoice", more
            exposed = answer.headers["access-control-expose-headers"]
            assert "x-vibevoice-model" in exposed.replace(" ", "").split(",")


def test_names_beyond_ascii(start_proxy: StartProxy) -> None:
    """Headers are ASCII: other characters are percent-encoded."""
    url = start_proxy(served_model_name="模型 1/a:b") + TRANSCRIPTIONS
    for more in ({}, {"stream": "true"}):
        answer = httpx2.post(url, data=more, files={"file": ("upload", SPEECH)}, timeout=60)
        assert answer.headers["x-vibevoice-model"] == "%E6%A8%A1%E5%9E%8B 1/a:b"
