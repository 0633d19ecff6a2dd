"""JSON bodies of POST /v1/audio/speech as clients send them."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from tests.support.fakes import serve
from tests.support.processes import wait_until_it_speaks

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings

pytest_plugins = ("tests.support.proxy_fixtures",)

JSON = "application/json"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A proxy with speech, shared by the whole module."""
    with serve(create_app(Settings(asr_api="off", tts_model_type="espeak"))) as base:
        wait_until_it_speaks(base, "espeak")
        yield base


@pytest.fixture
def http(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, timeout=60) as client:
        yield client


def speak(http: httpx2.Client, content: bytes, content_type: str = JSON) -> httpx2.Response:
    """The response to a raw body."""
    headers = {"content-type": content_type} if content_type else {}
    return http.post("/v1/audio/speech", content=content, headers=headers)


def body(text: str, **more: str) -> str:
    """A JSON text with raw `text` inside the quotes of `input`, and raw `more` fields."""
    fields = "".join(f', "{name}": {value}' for name, value in more.items())
    return '{"model": "tts-1", "response_format": "pcm", "input": "' + text + '"' + fields + "}"


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        pytest.param(body("Zoë").encode("utf-8-sig"), JSON, id="byte order mark"),
        pytest.param(body("Zoë").encode("latin-1"), f"{JSON}; charset=iso-8859-1", id="latin-1"),
        pytest.param(
            body("“Zoë”").encode("cp1252"), f'{JSON}; charset="windows-1252"', id="windows-1252"
        ),
        pytest.param(body("Zoë").encode("utf-16"), f"{JSON}; charset=utf-16", id="UTF-16"),
        pytest.param(body("Zoë").encode("utf-16"), JSON, id="UTF-16 by its mark"),
        pytest.param(body("Zoë").encode("utf-16-be"), f"{JSON}; charset=utf-16", id="UTF-16BE"),
        pytest.param(body("Zoë").encode("utf-16-le"), JSON, id="UTF-16LE without a mark"),
        pytest.param(body("Zoë").encode(), f"{JSON}; charset=utf-16", id="not what is declared"),
        pytest.param(body("日本").encode("shift_jis"), f"{JSON};charset=Shift_JIS", id="Shift JIS"),
        pytest.param(body(r"One \ud83d two").encode(), JSON, id="half a character"),
        pytest.param(body(r"One \ude00\ud83d two").encode(), JSON, id="halves in disorder"),
        pytest.param(body("One\ntwo\tthree\x0b").encode(), JSON, id="raw control characters"),
        pytest.param(body("Zoë").encode(), "text/json", id="text/json"),
        pytest.param(body("Zoë").encode(), "application/vnd.api+json", id="JSON API"),
        pytest.param(body("Zoë").encode(), "text/plain;charset=UTF-8", id="fetch"),
        pytest.param(body("Zoë").encode(), "", id="no type"),
        pytest.param(body("Zoë").encode(), "application/x-www-form-urlencoded", id="curl -d"),
        pytest.param(("\n" + body("Zoë", x="[null]")).encode(), JSON, id="unknown key"),
    ],
)
def test_bodies_are_taken(content: bytes, content_type: str, http: httpx2.Client) -> None:
    """The text is spoken."""
    answer = speak(http, content, content_type)
    assert answer.status_code == 200, answer.text
    assert len(answer.content) > 10_000


def test_half_a_character_changes_nothing_else(http: httpx2.Client) -> None:
    """Half of a surrogate pair is ignored, and the rest is spoken."""
    lengths = [
        len(speak(http, body(text).encode()).content) for text in (r"One\ud83d two", "One two")
    ]
    assert lengths[0] == pytest.approx(lengths[1], abs=1000)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "is empty", id="nothing"),
        pytest.param(
            b'{"input": "a",\n "voice": "b"\n "model": "c"}',
            "not valid JSON at line 3, column 2: Expecting ',' delimiter",
            id="no comma",
        ),
        pytest.param(b'{"input": "a}', "line 1, column 11: Unterminated string", id="no quote"),
        pytest.param(b"{'input': 'a'}", "line 1, column 2: Expecting property", id="Python"),
        pytest.param(b'{"input": "a"}}', "line 1, column 15: Extra data", id="more"),
        pytest.param(b'{"input": "caf\xe9"}', "not valid UTF-8 at byte 14 (0xe9)", id="latin-1"),
        pytest.param(b'\xef\xbb\xbf{"input": "\xff"}', "at byte 14 (0xff)", id="after a mark"),
        pytest.param(b'["a"]', "is a JSON array", id="array"),
        pytest.param(b'"a"', "is a JSON string", id="string"),
        pytest.param(b"7", "is a JSON number", id="number"),
        pytest.param(b"true", "is a JSON boolean", id="boolean"),
        pytest.param(b"null", "is null", id="null"),
        pytest.param(b'{"input": "a", "speed": NaN}', "speed: NaN", id="NaN"),
        pytest.param(b'{"input": "a", "x": [-Infinity]}', "x: -Infinity", id="infinity"),
        pytest.param(b'{"a":' * 100_000, "nested too deeply", id="deep"),
        pytest.param(b'{"seed": ' + b"1" * 5000 + b"}", "too many digits", id="a long number"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    content: bytes, said: str, http: httpx2.Client
) -> None:
    """An OpenAI-style 400 says what is wrong and where."""
    answer = speak(http, content)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("charset", "content", "said"),
    [
        ("windows-1252", b'{"input": "\x81"}', "not valid windows-1252 at byte 11 (0x81)"),
        ("x-unknown", b'{"input": "\xff"}', "the declared charset is unknown"),
        ("utf-16", b"\xff\xfe\x00", "not valid utf-16 at byte 2"),
    ],
)
def test_a_body_that_is_not_what_it_declares_is_told(
    charset: str, content: bytes, said: str, http: httpx2.Client
) -> None:
    """The message names the charset and the position."""
    answer = speak(http, content, f"{JSON}; charset={charset}")
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data; boundary=b", "application/x-www-form-urlencoded"]
)
def test_a_form_is_a_415(content_type: str, http: httpx2.Client) -> None:
    """The message names the media type received and the one expected."""
    answer = speak(http, b"input=hello", content_type)
    assert answer.status_code == 415
    assert content_type.partition(";")[0] in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "more",
    [
        {"voice": '"undefined"', "speed": '""', "seed": '"null"'},
        {"voice": "null", "speed": '"NaN"', "steps": '" "', "cfg_scale": '"undefined"'},
        {"voice": '" alloy "', "response_format": '" PCM "', "stream_format": '"Audio"'},
        {"response_format": '"PCM"', "ref_audio": '"None"', "speakers": '"null"'},
        {"stream_format": '""', "model": '"undefined"', "instructions": '"null"'},
        {"speed": '"1.0"', "seed": '"7"'},
    ],
    ids=str,
)
def test_values_in_every_spelling(more: dict[str, Any], http: httpx2.Client) -> None:
    """Unset values mean the default; names are case-insensitive."""
    answer = speak(http, body("Hello there.", **more).encode())
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/pcm")


@pytest.mark.parametrize("word", ["null", "None", "undefined", "NaN"])
def test_a_word_that_stands_for_nothing_is_spoken(word: str, http: httpx2.Client) -> None:
    """The text to speak may be any word."""
    assert speak(http, body(word).encode()).status_code == 200
