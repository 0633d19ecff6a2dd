"""Requests exactly as other clients send them, byte for byte."""

from collections.abc import Iterator

import httpx2
import pytest
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine
from tests.support.recordings import encoded

pytest_plugins = ("tests.support.proxy_fixtures",)

BROWSER_RECORDING = encoded("webm", "libopus")


def part(head: str, value: bytes) -> bytes:
    """One part of a multipart body with the boundary `b`."""
    return b"--b\r\n" + head.encode() + b"\r\n\r\n" + value + b"\r\n"


def text_part(name: str, value: str) -> bytes:
    """A text field as aiohttp sends it."""
    head = (
        f'Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name="{name}"'
    )
    return part(head, value.encode())


def file_part(content_type: str, name: str = "0b1c.wav") -> bytes:
    """A browser's recording with a misleading name and type."""
    disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    return part(f"Content-Type: {content_type}\r\n{disposition}", BROWSER_RECORDING)


def send(
    http: httpx2.Client, body: bytes, headers: dict[str, str] | None = None
) -> httpx2.Response:
    """`body` in small chunks without a Content-Length, as aiohttp and many proxies send it."""

    def chunks() -> Iterator[bytes]:
        for at in range(0, len(body), 1000):
            yield body[at : at + 1000]

    headers = {"content-type": "multipart/form-data; boundary=b", **(headers or {})}
    return http.post(TRANSCRIPTIONS, content=chunks(), headers=headers)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([("model", "whisper-1"), ("language", "de")], id="with a language"),
        pytest.param([("model", "whisper-1")], id="without"),
        pytest.param([("model", "")], id="no model set"),
    ],
)
def test_open_webui_uploads_in_chunks(
    fields: list[tuple[str, str]], http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """Text parts have a charset; the file is last, always an octet stream named .wav, without a
    length."""
    body = b"".join(text_part(name, value) for name, value in fields)
    answer = send(http, body + file_part("application/octet-stream") + b"--b--\r\n")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["text"] == "Good morning. Hello."
    assert "extra info" not in str(fake_engine.requests)


def test_litellm_asks_for_verbose_json_and_passes_fields_on(http: httpx2.Client) -> None:
    """LiteLLM builds its response from text, language, duration and segments with speakers."""
    body = b"".join(
        text_part(name, value)
        for name, value in [
            ("model", "vibevoice"),
            ("response_format", "verbose_json"),
            ("temperature", "0.3"),
            ("timestamp_granularities[]", "segment"),
            ("hotwords", "Ann"),
            ("stream", "false"),
        ]
    )
    answer = send(http, file_part("audio/x-wav") + body + b"--b--\r\n").json()
    assert {"task", "language", "duration", "text", "segments", "usage"} == set(answer)
    assert [item["speaker"] for item in answer["segments"]] == ["A", "B"]


@pytest.mark.parametrize("name", ["größe.wav", "../../etc/passwd", "C:\\x.wav", "", "x" * 200])
def test_the_name_of_the_file_means_nothing(name: str, http: httpx2.Client) -> None:
    """The file name may be raw UTF-8, a path, empty or long: it is ignored."""
    assert send(http, file_part("video/mp4", name) + b"--b--\r\n").status_code == 200


def test_a_part_without_a_name_is_told(http: httpx2.Client) -> None:
    """A malformed part is the client's error."""
    broken = b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"
    answer = send(http, broken)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_multipart")


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "audio/webm", "application/octet-stream"]
)
def test_a_bare_body_is_a_415(content_type: str, http: httpx2.Client) -> None:
    """The message lists the accepted body types."""
    answer = send(http, BROWSER_RECORDING, {"content-type": content_type})
    assert answer.status_code == 415
    assert "multipart/form-data" in answer.json()["error"]["message"]


def test_word_times_are_never_invented(http: httpx2.Client) -> None:
    """The model has no word timestamps, so segments are returned as usual, without `words`."""
    granularities = text_part("timestamp_granularities[]", "word")
    body = text_part("response_format", "verbose_json") + granularities
    answer = send(http, body + file_part("audio/wav") + b"--b--\r\n").json()
    assert "words" not in answer
    assert len(answer["segments"]) == 2
