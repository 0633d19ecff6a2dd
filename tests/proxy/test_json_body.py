"""A JSON body with `input_audio`, as Open WebUI sends it."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import numpy as np
import pytest
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine, StartProxy
from tests.support.recordings import encoded, tone, wav

from vibevoice_proxy.errors import InvalidRequest
from vibevoice_proxy.json_body import LONG_STRING, JsonBody

pytest_plugins = ("tests.support.proxy_fixtures",)

SPEECH = wav(tone(2.0))
LONG = LONG_STRING * 3 // 4


def body(data: str, **fields: Any) -> dict[str, Any]:
    """A body with `data` as the recording."""
    return {"model": "whisper-1", "input_audio": {"data": data, "format": "wav"}, **fields}


def base64_of(data: bytes) -> str:
    """Plain base64."""
    return base64.b64encode(data).decode()


def parse(text: bytes, step: int) -> tuple[bytes, list[tuple[str, str]]]:
    """The recording and the fields of `text`, fed `step` bytes at a time."""
    parser = JsonBody(1_000_000)
    found = b"".join(parser.feed(text[at : at + step]) for at in range(0, len(text), step))
    rest, fields = parser.finish()
    return found + rest, fields


@pytest.mark.parametrize("size", [0, 1, 2, 3, LONG - 1, LONG, LONG + 1, 2 * LONG + 2])
@pytest.mark.parametrize("step", [1, 5, 65_536])
@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda text: text, id="plain"),
        pytest.param(lambda text: text.replace("/", "\\/"), id="escaped slashes"),
        pytest.param(lambda text: text.replace("+", "\\u002B"), id="escaped pluses"),
        pytest.param(lambda text: text.replace("=", ""), id="without padding"),
        pytest.param(lambda text: text.replace("AAA", "\\nA\\n A A"), id="with line ends"),
    ],
)
def test_any_base64_in_any_split_is_decoded(
    write: Callable[[str], str], step: int, size: int
) -> None:
    """The data may be short or long, in any spelling and in chunks of any size."""
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    text = '{"model": "a\\"b\\\\", "input_audio": {"data": "%s"}, "stream": true}'
    audio, fields = parse((text % write(base64_of(data))).encode(), step)
    assert audio == data
    assert fields == [("model", 'a"b\\'), ("stream", "true")]


def test_fields_become_those_of_a_form() -> None:
    """Lists become repeated fields, null is omitted, numbers and objects become text."""
    fields = {"keywords": ["a", "b"], "language": None, "temperature": 0.5, "x": {"y": 1}}
    _, found = parse(json.dumps(body("", **fields)).encode(), 65_536)
    assert found == [
        ("model", "whisper-1"),
        ("keywords", "a"),
        ("keywords", "b"),
        ("temperature", "0.5"),
        ("x", '{"y": 1}'),
    ]


LONG_DATA = b"A" * 100_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(b"", "is empty", id="nothing"),
        pytest.param(b"\n ", "is empty", id="space"),
        pytest.param(b"{", "at byte 1: Expecting property name", id="cut"),
        pytest.param(b'{"a": 1,\n"b" 2}', "at byte 13: Expecting ':' delimiter", id="no colon"),
        pytest.param(b'{"a": "x', "at byte 6: Unterminated string", id="cut in a string"),
        pytest.param(b"[" * 100_000, "nested too deeply", id="deep"),
        pytest.param(b"[]", "is a JSON array", id="array"),
        pytest.param(b'"UklG"', "is a JSON string", id="string"),
        pytest.param(b"null", "is null", id="null"),
        pytest.param(b"{}", '{"input_audio": {"data"', id="no recording"),
        pytest.param(b'{"file": "UklG"}', '{"input_audio": {"data"', id="recording as file"),
        pytest.param(b'{"input_audio": "UklG"}', '{"data": BASE64', id="recording as text"),
        pytest.param(b'{"input_audio": {"data": 1}}', '{"data": BASE64', id="data a number"),
        pytest.param(b'{"input_audio": {"data": "!!!!"}}', "not valid base64", id="no base64"),
        pytest.param(
            b'{"input_audio": {"data": "https://a.example/b.wav"}}', "not fetched", id="URL"
        ),
        pytest.param(
            b'{"input_audio": {"data": "AAAAA"}}', "not valid base64", id="impossible length"
        ),
        pytest.param(
            b'{"input_audio": {"data": "' + LONG_DATA, "Unterminated", id="cut in the recording"
        ),
        pytest.param(
            b'{"input_audio": {"data": "' + LONG_DATA + b'"} "x": 1}',
            "at byte 100029: Expecting ',' delimiter",
            id="after the recording",
        ),
        pytest.param(
            b'{"input_audio": {"data": "' + b"!" * 100_000 + b'"}}',
            "not valid base64",
            id="long and no base64",
        ),
        pytest.param(
            b'{"input_audio": {"data": "' + "é".encode() * 100_000 + b'"}}',
            "not valid base64",
            id="no ASCII",
        ),
        pytest.param(
            b'{"input_audio": {"data": "\\ud800' + LONG_DATA + b'"}}',
            "not valid base64",
            id="half a character in the recording",
        ),
        pytest.param(
            b'{"a": "%s", "input_audio": {"data": "%s"}}' % (LONG_DATA, LONG_DATA),
            "Only one string",
            id="two long strings",
        ),
        pytest.param(
            b'{"a": "%s", "input_audio": {"data": "AAAA"}}' % LONG_DATA,
            "Only input_audio.data",
            id="another long string",
        ),
        pytest.param(
            b'{"a": "\xff", "input_audio": {"data": ""}}',
            "not valid UTF-8 at byte 7 (0xff); send UTF-8 or declare",
            id="no UTF-8",
        ),
        pytest.param(
            b'{"input_audio": {"data": "%s"}, "a": "\xe9"}' % LONG_DATA,
            "at byte 100036 (0xe9)",
            id="no UTF-8 after the recording",
        ),
        pytest.param(
            '{"input_audio": {"data": ""}}'.encode("utf-16"), "cannot be utf-16", id="UTF-16"
        ),
        pytest.param(
            '{"input_audio": {"data": ""}}'.encode("utf-16-be"),
            "cannot be utf-16-be",
            id="UTF-16 without a mark",
        ),
        pytest.param(b'{"a": %s}' % (b"1" * 10_000), "too many digits", id="endless number"),
        pytest.param(b'{"temperature": NaN}', "temperature: NaN", id="NaN"),
        pytest.param(b'{"a": [{"b": -Infinity}]}', "a: -Infinity", id="infinity"),
        pytest.param(b" " * 1_000_001, "exceed 1000000 bytes", id="too much around it"),
        pytest.param(
            b'{"input_audio": {"data": ""}}\\', "at byte 29: Extra data", id="something after it"
        ),
    ],
)
@pytest.mark.parametrize("step", [7, 65_536])
def test_what_is_no_such_body_is_refused(step: int, text: bytes, said: str) -> None:
    """The message says what is wrong and where, even after a recording that was extracted."""
    with pytest.raises(InvalidRequest) as raised:
        parse(text, step)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "charset", "model"),
    [
        pytest.param(b'\xef\xbb\xbf{"model": "\xc3\xa9", %s}', "", "é", id="byte order mark"),
        pytest.param(b'{"model": "\xe9", %s}', "iso-8859-1", "é", id="latin-1"),
        pytest.param(b'{"model": "\x93", %s}', "Windows-1252", "“", id="windows"),
        pytest.param(b'{"model": "\xc3\xa9", %s}', "utf8", "é", id="UTF-8 by another name"),
        pytest.param(b'{"model": "\xc3\xa9", %s}', "us-ascii", "é", id="more than ASCII"),
        pytest.param(b'{"model": "\xc3\xa9", %s}', "utf-16", "é", id="not what is declared"),
        pytest.param(b'{"model": "\xc3\xa9", %s}', "x-unknown", "é", id="unknown charset"),
        pytest.param(b'{"model": "a\\ud83d b", %s}', "", "a b", id="half a character"),
        pytest.param(b'{"model": "\\ud83d\\ude00", %s}', "", "\U0001f600", id="both halves"),
        pytest.param(b'{"model": "\xed\xa0\xbdb", %s}', "", "b", id="raw half"),
        pytest.param(b'{"model": "a\nb\tc\x01", %s}', "", "a\nb\tc\x01", id="raw line end"),
    ],
)
@pytest.mark.parametrize("size", [9, 60_000], ids=["short", "long"])
@pytest.mark.parametrize("step", [1, 65_536])
def test_json_as_clients_write_it(
    step: int, size: int, text: bytes, charset: str, model: str
) -> None:
    """Any ASCII-compatible charset, lone surrogates and raw control characters are accepted."""
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    recording = b'"input_audio": {"data": "%s"}' % base64_of(data).encode()
    parser = JsonBody(1_000_000, charset)
    body_text = text % recording
    found = b"".join(
        parser.feed(body_text[at : at + step]) for at in range(0, len(body_text), step)
    )
    rest, fields = parser.finish()
    assert (found + rest, fields) == (data, [("model", model)])


@pytest.mark.parametrize("charset", ["shift_jis", "gbk", "cp037", "utf-16"])
def test_a_charset_without_plain_ascii_is_told(charset: str) -> None:
    """The parser looks for quotes in the bytes, which does not work in such a charset."""
    with pytest.raises(InvalidRequest, match="send UTF-8"):
        parser = JsonBody(1_000_000, charset)
        parser.feed('{"model": "x", "input_audio": {"data": ""}}'.encode(charset))
        parser.finish()


@pytest.mark.parametrize("size", [300, 100_000], ids=["short", "long"])
def test_url_safe_base64_is_taken(size: int) -> None:
    """It may contain raw line breaks."""
    data = bytes([251, 255, 254]) * (size // 3)
    digits = base64.urlsafe_b64encode(data)
    assert b"-" in digits and b"_" in digits
    lines = b"\r\n".join(digits[at : at + 76] for at in range(0, len(digits), 76))
    audio, _ = parse(b'{"input_audio": {"data": "%s"}}' % lines, 1000)
    assert audio == data


@pytest.mark.parametrize("response_format", ["json", "diarized_json"])
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(SPEECH, id="wav"),
        pytest.param(encoded("webm", "libopus"), id="webm under the name wav"),
    ],
)
def test_open_webui_may_send_json(
    data: bytes, response_format: str, http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """The recording is decoded whatever the `format` says; fields work as in a form."""
    fields = {"language": "en", "keywords": ["Ann", "Bob"], "response_format": response_format}
    answer = http.post(TRANSCRIPTIONS, json=body(base64_of(data), **fields))
    assert answer.status_code == 200
    assert answer.json()["text"].startswith(("Good morning.", "A: Good morning."))
    ((samples, _, _),) = fake_engine.audio
    assert samples == pytest.approx(48_000, abs=1500)
    assert "extra info: Ann, Bob" in fake_engine.requests[0]["messages"][1]["content"][1]["text"]


@pytest.mark.parametrize(
    "content_type",
    [
        *("text/json", "application/vnd.api+json", "Application/JSON;charset=utf-8"),
        *("text/plain", "application/x-www-form-urlencoded", ""),
    ],
)
def test_json_under_any_type(content_type: str, http: httpx2.Client) -> None:
    """`curl -d` sends it as a form, fetch as plain text; a body that begins like an object is
    JSON."""
    content = b"\n " + json.dumps(body(base64_of(SPEECH))).encode()
    headers = {"content-type": content_type} if content_type else {}
    answer = http.post(TRANSCRIPTIONS, content=content, headers=headers)
    assert (answer.status_code, answer.json()["text"]) == (200, "Good morning. Hello.")


@pytest.mark.parametrize(
    ("charset", "prompt"),
    [
        pytest.param("", b"Zo\xc3\xab \\ud83d", id="half a character"),
        pytest.param("; charset=iso-8859-1", b"Zo\xeb", id="latin-1"),
        pytest.param("", b"Zo\xc3\xab\n", id="raw line end"),
    ],
)
def test_the_prompt_of_a_json_body_reaches_the_engine(
    charset: str, prompt: bytes, http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """The prompt is decoded from its charset, without lone surrogates."""
    content = b'{"prompt": "%s", "input_audio": {"data": "%s"}}' % (
        prompt,
        base64_of(SPEECH).encode(),
    )
    headers = {"content-type": f"application/json{charset}"}
    assert http.post(TRANSCRIPTIONS, content=content, headers=headers).status_code == 200
    text = fake_engine.requests[0]["messages"][1]["content"][1]["text"]
    assert "extra info: Zoë\n" in text


def test_a_json_body_may_ask_for_a_stream(http: httpx2.Client) -> None:
    """`true` is accepted as a boolean, and the data may be a data URL."""
    url = "data:audio/wav;base64," + base64_of(SPEECH)
    answer = http.post(TRANSCRIPTIONS, json=body(url, stream=True))
    assert answer.text.count("transcript.text.delta") == 2


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(body(""), "audio_too_short", id="empty"),
        pytest.param(body(base64_of(b"no recording")), "invalid_audio", id="no recording"),
        pytest.param(body("?"), "invalid_value", id="no base64"),
        pytest.param({}, "invalid_json", id="no input_audio"),
        pytest.param(body(base64_of(SPEECH), temperature="hot"), "invalid_value", id="field"),
    ],
)
def test_errors_are_those_of_a_form(
    content: dict[str, Any], code: str, http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """An OpenAI-style 400, without calling the engine."""
    answer = http.post(TRANSCRIPTIONS, json=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert fake_engine.asked == 0


def test_a_json_body_is_counted_while_it_is_read(start_proxy: StartProxy) -> None:
    """Without a Content-Length, it is rejected once it exceeds the limit."""

    def chunks() -> Iterator[bytes]:
        yield b'{"input_audio": {"data": "'
        for _ in range(50):
            yield b"A" * 100_000

    with httpx2.Client(base_url=start_proxy(max_upload_bytes=1_000_000), timeout=60) as http:
        headers = {"content-type": "application/json"}
        answer = http.post(TRANSCRIPTIONS, content=chunks(), headers=headers)
    assert answer.status_code == 413
