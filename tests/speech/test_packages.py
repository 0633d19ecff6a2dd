"""Speech without weights: the natural English voice, with espeak as its fallback."""

from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pytest
from tests.support.fakes import serve
from tests.support.processes import wait_until_it_speaks

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings

ENGLISH = "Hello there, this is a test."
CHINESE = "今天天气很好。"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A proxy with default settings."""
    with serve(create_app(Settings(asr_api="off"))) as base:
        wait_until_it_speaks(base, "hibari", "espeak")
        yield base


@pytest.fixture
def http(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, timeout=60) as client:
        yield client


def speak(http: httpx2.Client, **body: Any) -> httpx2.Response:
    fields = {"model": "tts-1", "input": ENGLISH, "response_format": "pcm", "seed": 1, **body}
    return http.post("/v1/audio/speech", json=fields)


@pytest.mark.parametrize(
    "model", ["tts-1", "tts-1-hd", "gpt-4o-mini-tts", "whatever", "", "hibari"]
)
def test_english_is_spoken_by_the_natural_voice(http: httpx2.Client, model: str) -> None:
    """hibari is used for every model name except espeak's own; OpenAI's voices all map to its only
    voice."""
    plain = speak(http, model=model)
    assert plain.headers["x-vibevoice-model"] == "hibari"
    assert plain.content == speak(http, model=model, voice="onyx").content
    assert len(plain.content) > 24000


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"voice": "espeak-fr-woman", "input": "Bonjour."}, id="voice"),
        pytest.param({"voice": "zh", "input": "Hello."}, id="part-of-a-voice"),
        pytest.param({"input": CHINESE}, id="letters"),
        pytest.param({"input": "Это проверка."}, id="other-letters"),
        pytest.param({"input": f"{'This is English. ' * 100}{CHINESE * 100}"}, id="one-passage"),
        pytest.param({"model": "espeak"}, id="name"),
        pytest.param({"model": "espeak", "voice": "alloy"}, id="name-and-voice"),
        pytest.param(
            {"input": "Ann: Hello.\nBob: Hi.", "speakers": {"Ann": "us-girl", "Bob": "alloy"}},
            id="speaker",
        ),
    ],
)
def test_espeak_speaks_what_the_natural_voice_cannot(
    http: httpx2.Client, body: dict[str, Any]
) -> None:
    """espeak handles voices and letters that hibari does not support, unless hibari was requested
    by name; the response names the model."""
    answer = speak(http, **body)
    assert (answer.status_code, answer.headers["x-vibevoice-model"]) == (200, "espeak")
    assert np.abs(np.frombuffer(answer.content, "<i2")).max() > 1000


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        pytest.param({"voice": "espeak-fr-woman"}, "voice", "Voices: hibari-heart.", id="voice"),
        pytest.param({"input": CHINESE}, "input", "the model espeak can", id="letters"),
    ],
)
def test_a_model_asked_for_by_name_is_never_changed(
    http: httpx2.Client, body: dict[str, Any], param: str, message: str
) -> None:
    """Unsupported text or voices are rejected, and the message lists the alternatives."""
    answer = speak(http, model="hibari", **body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert message in error["message"]


def test_a_voice_of_neither_is_refused_with_those_of_both(http: httpx2.Client) -> None:
    """Ambiguous names, and the natural voice for a text that it cannot read, are rejected as
    well."""
    for voice, message in (
        ("nobody", "is unknown. Voices: hibari-heart, espeak-de-man,"),
        ("de", "matches several voices (espeak-de-man, espeak-de-woman). Voices: hibari-heart,"),
    ):
        assert message in speak(http, voice=voice).json()["error"]["message"]
    error = speak(http, voice="hibari-heart", input=CHINESE).json()["error"]
    assert "cannot read part of the text" in error["message"]


def test_listings_tell_what_is_what(http: httpx2.Client) -> None:
    """The listings contain the names, their models, and the voices of each model."""
    models = {one["id"]: one["root"] for one in http.get("/v1/audio/models").json()["models"]}
    assert models.pop("espeak") == "espeak"
    assert models.keys() > {"hibari", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"}
    assert set(models.values()) == {"hibari"}
    assert {"hibari", "espeak"} < {one["id"] for one in http.get("/v1/models").json()["data"]}
    assert http.get("/health").json()["parts"].keys() == {"proxy", "hibari", "espeak"}
    for model, names in (("tts-1", {"hibari", "espeak"}), ("hibari", {"hibari"})):
        voices = http.get("/v1/audio/voices", params={"model": model}).json()["voices"]
        assert {name for voice in voices for name in voice["models"]} == names


def test_words_in_other_letters_within_english_are_left_out(http: httpx2.Client) -> None:
    """The rest of the sentence is spoken by the same voice."""
    answer = speak(http, input="The word 你好 means hello.")
    assert answer.headers["x-vibevoice-model"] == "hibari"
    assert answer.content == speak(http, input="The word  means hello.").content
