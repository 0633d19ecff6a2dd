"""Forms as clients send them: files, text fields and charsets."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import requests
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine, StartProxy
from tests.support.recordings import tone, wav

pytest_plugins = ("tests.support.proxy_fixtures",)

SPEECH = wav(tone(2.0))
SHORT = wav(tone(0.3))
WORDS = "Good morning. Hello."
FILE = b'Content-Disposition: form-data; name="file"; filename="a.wav"'


def part(head: bytes | str, value: bytes | str = SPEECH) -> bytes:
    """A part with the boundary `b`."""
    head, value = (item.encode() if isinstance(item, str) else item for item in (head, value))
    return b"--b\r\n" + head + b"\r\n\r\n" + value + b"\r\n"


def named(name: str, more: str = "") -> str:
    """The Content-Disposition of a part."""
    return f'Content-Disposition: form-data; name="{name}"{more}'


def form(*parts: bytes) -> bytes:
    """A body of `parts`."""
    return b"".join(parts) + b"--b--\r\n"


def send(
    http: httpx2.Client, body: bytes, content_type: str = "multipart/form-data; boundary=b"
) -> httpx2.Response:
    """`body` in small chunks of various sizes, without a Content-Length."""

    def chunks() -> Iterator[bytes]:
        step = 7 if len(body) < 20_000 else 997
        for at in range(0, len(body), step):
            yield body[at : at + step]

    return http.post(TRANSCRIPTIONS, content=chunks(), headers={"content-type": content_type})


def info(engine: FakeEngine) -> str:
    """The context that the engine got besides the audio."""
    text = engine.requests[-1]["messages"][1]["content"][1]["text"]
    return text.partition("extra info: ")[2].partition("\n")[0]


def message(answer: httpx2.Response) -> str:
    """The message of a 400."""
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]["message"]


TEXT_AS_FILE = [
    pytest.param(part(named("prompt", '; filename="upload"'), "Zoë"), id="httpx"),
    pytest.param(part(named("prompt", '; filename="prompt"'), "Zoë"), id="requests"),
    pytest.param(
        part(
            named("prompt", '; filename="blob"') + "\r\nContent-Type: application/octet-stream",
            "Zoë",
        ),
        id="Blob",
    ),
    pytest.param(
        part(
            named("prompt", '; filename="p.txt"') + "\r\nContent-Type: text/plain;charset=UTF-8",
            "Zoë",
        ),
        id="Java",
    ),
    pytest.param(
        part(
            named("prompt", '; filename="p"') + "\r\nContent-Type: text/plain; charset=iso-8859-1",
            "Zoë".encode("latin-1"),
        ),
        id="latin-1",
    ),
    pytest.param(
        part(named("prompt", "; filename=p.txt"), "Zoë".encode("utf-16")), id="PowerShell"
    ),
    pytest.param(
        part(named("prompt", '; filename=""') + "\r\nContent-Type: application/json", "Zoë"),
        id="Spring",
    ),
]


@pytest.mark.parametrize("text", TEXT_AS_FILE)
@pytest.mark.parametrize("first", [True, False], ids=["before the file", "after it"])
def test_a_text_field_as_a_file_is_text(
    first: bool, text: bytes, http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """Only the name of the field matters."""
    parts = [text, part(FILE)]
    answer = send(http, form(*(parts if first else parts[::-1])))
    assert (answer.status_code, info(fake_engine)) == (200, "Zoë")


@pytest.mark.parametrize("client", [httpx2, requests], ids=["httpx2", "requests"])
def test_clients_that_give_everything_as_files(
    client: Any, start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """`files={"file": …, "language": "en"}` sends every field as a file."""
    files = {"file": SPEECH, "language": "en", "prompt": "Zoë", "response_format": "verbose_json"}
    if client is httpx2:
        files = {name: (name, value) for name, value in files.items()}
    answer = client.post(start_proxy() + TRANSCRIPTIONS, files=files)
    assert (answer.status_code, answer.json()["language"]) == (200, "en")
    assert info(fake_engine) == "Zoë"


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(named("file", "; filename*=utf-8''%D1%84.wav"), id="extended filename"),
        pytest.param(named("file", "; filename*=UTF-8''a.wav; filename=a.wav"), id="both"),
        pytest.param(named("file", "; filename*0=a; filename*1=.wav"), id="filename in pieces"),
        pytest.param(named("file", "; filename*=x''%ff; filename*0=a"), id="broken pieces"),
        pytest.param(named("file"), id="no filename"),
        pytest.param(
            named("file") + "\r\nContent-Type: audio/wav\r\nContent-Length: 9", id="more headers"
        ),
        pytest.param("CONTENT-DISPOSITION: FORM-DATA; NAME=file; FILENAME=a", id="capitals"),
        pytest.param("content-disposition:form-data;name=file;filename=a", id="no spaces"),
        pytest.param('content-disposition: form-data ; name = "file" ; filename = a', id="spaces"),
        pytest.param("content-disposition: form-data; name='file'", id="single quotes"),
        pytest.param(r'content-disposition: form-data; name="\"file\""', id="escaped quotes"),
        pytest.param("content-disposition: form-data; name*=utf-8''file; filename=a", id="name*"),
        pytest.param(named("file", '; filename="a\\"b;c.wav"'), id="quotes in the filename"),
        pytest.param('content-disposition: attachment; filename="a.wav"', id="no name"),
        pytest.param("content-type: audio/wav", id="no disposition"),
        pytest.param("content-type: application/octet-stream", id="an octet stream"),
    ],
)
def test_the_recording_is_found(head: str, http: httpx2.Client) -> None:
    """The filename may have any form or be missing; the field name may be missing if there is no
    other file."""
    answer = send(http, form(part(named("model"), "whisper-1"), part(head)))
    assert (answer.status_code, answer.json()["text"]) == (200, WORDS)


@pytest.mark.parametrize(
    "others",
    [
        pytest.param([part(FILE, b"")], id="a second file input"),
        pytest.param([part(named("image", '; filename=""'), b"")], id="another file input"),
        pytest.param(
            [part('content-disposition: form-data; filename=""', b"")], id="without a name"
        ),
        pytest.param([part(named("file"), b"")], id="an empty text"),
        pytest.param([part(FILE, b"")] * 5, id="many"),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["before the file", "after it"])
def test_empty_files_are_ignored(first: bool, others: list[bytes], http: httpx2.Client) -> None:
    """A page with several file inputs also sends the empty ones."""
    parts = [*others, part(FILE)] if first else [part(FILE), *others]
    assert send(http, form(*parts)).status_code == 200


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        pytest.param([part(FILE), part(FILE)], "Too many files: found one in each of 'file'"),
        pytest.param([part(FILE), part(named("audio", '; filename="a"'))], "'file', 'audio'"),
        pytest.param([part(FILE), part(named("audio", '; filename="a"'), SHORT)], "'audio'"),
        pytest.param([part("content-type: audio/wav"), part(FILE)], "Too many files"),
        pytest.param([part(FILE), part(named("audio_sample"))], "'audio_sample'"),
    ],
    ids=["the same field", "a large one", "a small one", "one without a name", "a voice"],
)
def test_several_files_are_a_400(parts: list[bytes], said: str, http: httpx2.Client) -> None:
    """Several files would be ambiguous; the message names the fields."""
    assert said in message(send(http, form(*parts)))


@pytest.mark.parametrize("name", ["audio", "audio_file", "upload", "data", "audio_sample", "File"])
@pytest.mark.parametrize(
    ("more", "data"),
    [
        pytest.param('; filename="a.wav"', SPEECH, id="large"),
        pytest.param('; filename="a.wav"', SHORT, id="small"),
        pytest.param("\r\nContent-Type: audio/wav", SHORT, id="no filename"),
        pytest.param('; filename="a.mp3"\r\nContent-Type: audio/mpeg', b"ID3 text", id="typed"),
    ],
)
def test_a_recording_in_another_field_is_told(
    more: str, data: bytes, name: str, http: httpx2.Client
) -> None:
    """The message names the field found and the one expected."""
    answer = send(http, form(part(named(name, more), data)))
    assert f"'{name}'" in message(answer)
    assert "field file" in message(answer)
    assert answer.json()["error"]["param"] == "file"


def test_a_form_without_a_recording_tells_what_it_has(http: httpx2.Client) -> None:
    """A typo in a field name is obvious from the message."""
    said = message(send(http, form(part(named("sprache"), "x"), part(named("language"), "en"))))
    assert "file is missing" in said
    assert "'sprache', 'language'" in said


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"https://a.example/b.mp3", "file is a URL, which is not fetched", id="URL"),
        pytest.param(b"data:audio/wav;base64,UklGRg==", "a URL", id="data URL"),
        pytest.param(b"UklGR" * 1000, "is text, such as base64", id="base64"),
        pytest.param(b"UklGRg-_\r\n" * 30, "is text, such as base64", id="URL-safe base64"),
    ],
)
@pytest.mark.parametrize("head", [named("file"), FILE], ids=["text", "file"])
def test_text_in_place_of_a_recording_is_told(
    head: str | bytes, data: bytes, said: str, http: httpx2.Client
) -> None:
    """Returns 400 without decoding."""
    assert said in message(send(http, form(part(head, data))))


@pytest.mark.parametrize("value", ["bob.wav", "C:\\Musik\\für Zoë.mp3".encode("cp1252")])
def test_a_path_in_place_of_a_recording_is_told(value: bytes | str, http: httpx2.Client) -> None:
    """Without the `@`, curl sends the path as a text field; the message shows the right flag."""
    answer = send(http, form(part(named("file"), value)))
    assert "is text; expected the bytes of the recording. With curl, use -F file=@" in message(
        answer
    )
    assert answer.json()["error"]["code"] == "missing_file"


def test_a_text_file_is_not_a_missing_file(http: httpx2.Client) -> None:
    """With a filename, the `@` was not forgotten."""
    answer = send(http, form(part(FILE, "Notes")))
    assert "-F" not in message(answer)
    assert answer.json()["error"]["code"] == "invalid_audio"


@pytest.mark.parametrize(
    ("content_type", "head", "value"),
    [
        pytest.param("", "", "Zoë".encode(), id="UTF-8"),
        pytest.param("", "", b"\xef\xbb\xbf" + "Zoë".encode(), id="byte order mark"),
        pytest.param("", "", b"Zo\xeb", id="latin-1, not declared"),
        pytest.param("; charset=utf-8", "", b"Zo\xeb", id="latin-1, declared as UTF-8"),
        pytest.param("; charset=iso-8859-1", "", b"Zo\xeb", id="charset of the form"),
        pytest.param("", "; charset=ISO-8859-1", b"Zo\xeb", id="charset of the part"),
        pytest.param("", '; charset="utf-16le"', "Zoë".encode("utf-16-le"), id="UTF-16LE"),
        pytest.param("", "; charset=utf-16", "Zoë".encode("utf-16-be"), id="UTF-16"),
        pytest.param("", "; charset=cp850", "Zoë".encode("cp850"), id="DOS"),
        pytest.param("", "; charset=us-ascii", "Zoë".encode(), id="more than ASCII"),
        pytest.param("", "; charset=x-unknown", "Zoë".encode(), id="unknown charset"),
        pytest.param("", "", b"Zo\xed\xa0\xbd\xc3\xab", id="half a character"),
    ],
)
def test_text_in_any_charset(
    content_type: str, head: str, value: bytes, http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """The part declares the charset, or else the form does; a byte order mark is not part of the
    text."""
    typed = f"\r\nContent-Type: text/plain{head}" if head else ""
    body = form(part(FILE), part(named("prompt", typed), value))
    answer = send(http, body, f"multipart/form-data{content_type}; boundary=b")
    assert (answer.status_code, info(fake_engine)) == (200, "Zoë")


@pytest.mark.parametrize("last", [True, False], ids=["after the text", "before it"])
def test_the_charset_field_of_html(
    last: bool, http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """`_charset_` sets the charset of the other fields."""
    parts = [part(named("_charset_"), "cp850"), part(named("prompt"), "Zoë".encode("cp850"))]
    assert send(http, form(part(FILE), *(parts[::-1] if last else parts))).status_code == 200
    assert info(fake_engine) == "Zoë"


@pytest.mark.parametrize(
    ("charset", "value", "said"),
    [
        ("utf-16", b"\xff\xfe\x00", "not valid utf-16 at byte 2"),
        ("cp1252", b"ab\x81", "not valid cp1252 at byte 2 (0x81)"),
        ("x-unknown", b"\xff", "declared charset is unknown"),
    ],
)
def test_text_that_is_not_what_it_declares_is_told(
    charset: str, value: bytes, said: str, http: httpx2.Client
) -> None:
    """The message names the field, the charset and the position."""
    head = named("prompt", f"\r\nContent-Type: text/plain; charset={charset}")
    answer = send(http, form(part(FILE), part(head, value)))
    assert said in message(answer)
    assert answer.json()["error"]["param"] == "prompt"


@pytest.mark.parametrize(
    ("content_type", "edge"),
    [
        pytest.param('multipart/form-data; boundary="b"', b"b", id="quoted"),
        pytest.param('Multipart/Form-Data; Boundary="b c:d"', b"b c:d", id="with a space"),
        pytest.param("multipart/form-data; charset=utf-8; boundary=b", b"b", id="not first"),
        pytest.param('multipart/form-data;boundary="=_b;c"', b"=_b;c", id="with a semicolon"),
    ],
)
def test_boundaries_in_any_spelling(content_type: str, edge: bytes, http: httpx2.Client) -> None:
    """Quoted boundaries may contain special characters."""
    body = form(part(FILE)).replace(b"--b", b"--" + edge)
    assert send(http, body, content_type).status_code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(
            b"preamble\r\n" + form(part(FILE)), "at byte 0; expected parts", id="preamble"
        ),
        pytest.param(
            form(part(FILE, b"x")).replace(b"\r\n", b"\n"), "end in CRLF", id="line feeds alone"
        ),
        pytest.param(part(FILE), "before its final boundary", id="no end"),
        pytest.param(form(part(named("x"), "y")), "file is missing", id="no file"),
        pytest.param(form(*[part(named("a"), "")] * 1001), "more than 1000", id="many parts"),
    ],
)
def test_broken_forms_are_told(body: bytes, said: str, http: httpx2.Client) -> None:
    """The message says what is wrong, and where."""
    assert said in message(send(http, body))


def test_a_form_may_be_framed_by_line_ends_and_an_epilogue(http: httpx2.Client) -> None:
    """Text before and after the parts does not belong to the form."""
    assert send(http, b"\r\n" + form(part(FILE)) + b"epilogue").status_code == 200


def test_text_in_a_file_is_bounded(http: httpx2.Client, fake_engine: FakeEngine) -> None:
    """Up to 64 KiB is text; anything larger is a file that is not kept."""
    head = named("unknown", '; filename="a.txt"')
    assert send(http, form(part(FILE), part(head, b"a" * 65_536))).status_code == 200
    assert "'unknown'" in message(send(http, form(part(FILE), part(head, b"a" * 65_537))))
