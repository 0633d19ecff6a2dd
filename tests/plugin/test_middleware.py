"""The middleware that pins the decoding of every request to the engine."""

import json
import random
from collections.abc import Iterable

import httpx2
import pytest
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import Message, Receive, Scope, Send
from vllm.entrypoints.anthropic.protocol import AnthropicMessagesRequest
from vllm.entrypoints.openai.chat_completion.protocol import (
    BatchChatCompletionRequest,
    ChatCompletionRequest,
)
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.speech_to_text.transcription.protocol import TranscriptionRequest
from vllm.entrypoints.speech_to_text.translation.protocol import TranslationRequest

from vibevoice_core.penalties import PINNED, Penalties
from vibevoice_proxy.transcription.vibevoice import TEMPERATURES
from vibevoice_vllm.middleware import (
    FORM_ROUTES,
    JSON_ROUTES,
    FormBody,
    JSONBody,
    PinnedDecoding,
    pinned_values,
)
from vibevoice_vllm.settings import PluginSettings

CHAT = "/v1/chat/completions"
TRANSCRIPTIONS = "/v1/audio/transcriptions"
PINS = pinned_values()
SPLITS = [pytest.param(n, id=f"{n}-bytes") for n in (1, 2, 7, 64, 10**6)]


def chunks(body: bytes, size: int) -> list[bytes]:
    return [body[i : i + size] for i in range(0, len(body), size)] or [b""]


class Engine:
    """An ASGI app that saves the request it received."""

    def __init__(self) -> None:
        self.body: bytes | None = None
        self.headers = Headers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers, self.body, more = Headers(scope=scope), b"", True
        while more:
            message = await receive()
            self.body += message["body"]
            more = message.get("more_body", False)


async def post(
    body: Iterable[bytes],
    *,
    path: str = CHAT,
    headers: dict[str, str] | None = None,
    root_path: str = "",
    method: str = "POST",
) -> tuple[Engine, list[Message]]:
    """Send a request through the middleware in the given chunks; return the engine and the
    response."""
    engine, sent, left = Engine(), [], list(body)
    names = {"content-length": str(sum(map(len, left))), **(headers or {})}
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": root_path + path,
        "root_path": root_path,
        "headers": [(k.encode(), v.encode()) for k, v in names.items()],
    }

    async def receive() -> Message:
        chunk = left.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(left)}

    async def send(message: Message) -> None:
        sent.append(message)

    await PinnedDecoding(engine)(scope, receive, send)
    return engine, sent


async def form_of(body: bytes, boundary: str) -> dict[str, str | bytes]:
    """What vLLM's web framework reads from a form: the last field of each name, and files as
    bytes."""
    headers = Headers({"content-type": f"multipart/form-data; boundary={boundary}"})

    async def stream():
        yield body

    form = await MultiPartParser(headers, stream()).parse()
    values = {k: await v.read() if isinstance(v, UploadFile) else v for k, v in form.items()}
    await form.close()
    return values


@pytest.mark.parametrize("size", SPLITS)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"model":"m","messages":[]}', id="plain"),
        pytest.param(b'{"temperature":1.5,"top_p":0.1,"vllm_xargs":{"a":1}}', id="own-values"),
        pytest.param(b'{"temperature":1,"temperature":2}', id="own-duplicates"),
        pytest.param(b'{"a":{"temperature":1.5},"b":[{"c":{}}]}', id="nested"),
        pytest.param(b' \n{"a" : "}" , "b": "{}" }\r\n\t ', id="space-and-braces"),
        pytest.param(b"{}", id="empty-object"),
        pytest.param(b" { \n } \n", id="empty-object-with-space"),
        pytest.param('{"text":"Zoë 的"}'.encode(), id="utf-8"),
        pytest.param(b'\xef\xbb\xbf{"a":1}', id="utf-8-mark"),
    ],
)
async def test_json_gets_the_pinned_keys(body: bytes, size: int) -> None:
    """All of the caller's keys except the pinned ones are kept, however the body is split."""
    engine, _ = await post(chunks(body, size))
    assert engine.body is not None
    assert json.loads(engine.body) == {**json.loads(body), **PINS}
    assert engine.headers["content-length"] == str(len(engine.body))


@pytest.mark.parametrize("size", SPLITS)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'[{"temperature":1}]', id="array"),
        pytest.param(b'"{}"', id="string"),
        pytest.param(b'{"a":1', id="truncated"),
        pytest.param(b'{"a":1}x', id="trailing-text"),
        pytest.param(b"\xff\xd8\xff\xe0 no json", id="binary"),
    ],
)
async def test_what_is_not_an_object_is_left_to_vllm(body: bytes, size: int) -> None:
    """Only white space is added, so vLLM's own message matches what the caller sent."""
    engine, _ = await post(chunks(body, size))
    assert engine.body is not None
    if body[:2] != b"\xff\xd8":
        assert engine.body.rstrip(b" ") == body
    with pytest.raises(ValueError, match=r".*"):
        if not isinstance(json.loads(engine.body), dict):
            raise ValueError("no object")
    assert engine.headers["content-length"] == str(len(engine.body))


@pytest.mark.parametrize("size", SPLITS)
@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize("text", ['{"temperature":1.5}', '{"temperature":1.5} ', "{}"])
async def test_no_other_encoding_escapes(text: str, encoding: str, size: int) -> None:
    """Python's json also reads UTF-16 and UTF-32; such bodies are made invalid."""
    engine, _ = await post(chunks(text.encode(encoding), size))
    assert engine.body is not None
    with pytest.raises(ValueError, match=r".*"):
        json.loads(engine.body)


def test_no_json_text_escapes() -> None:
    """Of many bodies of JSON characters, none is read as an object without the pinned keys."""
    rng = random.Random(0)
    alphabet = [b"{", b"}", b'"', b"\\", b",", b":", b"1", b" ", b'"temperature"', b"[", b"]"]
    read = 0
    for _ in range(20_000):
        body = b"{" + b"".join(rng.choices(alphabet, k=rng.randrange(9))) + b"}"
        pinned = JSONBody(PINS)
        result = b"".join(map(pinned.feed, chunks(body, rng.randrange(1, 4)))) + pinned.close()
        assert len(result) == len(body) + pinned.growth
        try:
            value = json.loads(result)
        except ValueError:
            continue
        assert value | PINS == value
        read += 1
    assert read > 100


def multipart(fields: dict[str, str], file: bytes = b"RIFF\0\xff\r\n--\r\n") -> tuple[bytes, str]:
    """A transcription form as the openai client sends it, and its boundary."""
    request = httpx2.Request("POST", "http://h", data=fields, files={"file": ("a.wav", file)})
    return request.read(), request.headers["content-type"].split("boundary=")[1]


@pytest.mark.parametrize("path", sorted(FORM_ROUTES))
@pytest.mark.parametrize("size", SPLITS)
async def test_forms_get_the_pinned_fields(size: int, path: str) -> None:
    """The caller's file and other fields stay, and the pinned fields win."""
    sent = {"model": "m", "temperature": "1.5", "vllm_xargs": '{"a":1}'}
    body, boundary = multipart(sent)
    kind = f"multipart/form-data; boundary={boundary}"
    engine, _ = await post(chunks(body, size), path=path, headers={"content-type": kind})
    assert engine.body is not None
    assert engine.headers["content-length"] == str(len(engine.body))
    form = await form_of(engine.body, boundary)
    assert form.pop("file") == b"RIFF\0\xff\r\n--\r\n"
    pins = {k: v if isinstance(v, str) else json.dumps(v) for k, v in PINS.items()}
    assert form == {"model": "m", **pins}


@pytest.mark.parametrize("size", SPLITS)
@pytest.mark.parametrize("epilogue", [b"", b"\r\n", b"\r\nmore\r\n--B--\r\n"])
async def test_a_file_that_looks_like_the_end_is_not_the_end(epilogue: bytes, size: int) -> None:
    """Parts of the boundary inside a file, and text after the end, change nothing."""
    file = b"\r\n--B-\r\r\n--\r\n\r\n--A--"
    body = (
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        + file
        + b"\r\n--B--"
        + epilogue
    )
    pinned = FormBody(PINS, b"B")
    result = b"".join(map(pinned.feed, chunks(body, size))) + pinned.close()
    form = await form_of(result, "B")
    assert form["file"] == file
    assert form["temperature"] == "0.0"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no form at all", id="garbage"),
        pytest.param(
            b'--B\r\nContent-Disposition: form-data; name="temperature"\r\n\r\n1.5\r\n--B\r\n',
            id="ends-after-a-field",
        ),
        pytest.param(
            b'--B\r\nContent-Disposition: form-data; name="temperature"\r\n\r\n1.5',
            id="ends-in-a-field",
        ),
    ],
)
async def test_a_form_that_never_closes_is_invalid(body: bytes) -> None:
    """An unclosed form is not accepted with the fields received so far."""
    pinned = FormBody(PINS, b"B")
    result = pinned.feed(body) + pinned.close()
    assert len(result) == len(body) + pinned.growth
    with pytest.raises(MultiPartException):
        await form_of(result, "B")


async def test_no_form_escapes() -> None:
    """Of many bodies made from parts of a form, none is read without the pinned fields."""
    rng = random.Random(0)
    alphabet = [
        b"--B",
        b"--B--",
        b"\r\n--B",
        b"\r\n--B--",
        b"\r\n",
        b"\r",
        b"\n",
        b"--",
        b"1.5",
        b":",
        b'Content-Disposition: form-data; name="temperature"\r\n\r\n1.5',
        b'\r\nContent-Disposition: form-data; name="temperature"\r\n\r\n',
        b'\r\nContent-Disposition: form-data; name="other"\r\n\r\n',
    ]
    read = 0
    closed = b'--B\r\nContent-Disposition: form-data; name="temperature"\r\n\r\n1.5\r\n'
    for _ in range(20_000):
        start = rng.choice([b"", b"--B\r\n", closed])
        body = start + b"".join(rng.choices(alphabet, k=rng.randrange(8)))
        pinned = FormBody(PINS, b"B")
        result = b"".join(map(pinned.feed, chunks(body, rng.randrange(1, 9)))) + pinned.close()
        try:
            form = await form_of(result, "B")
        except MultiPartException:
            continue
        assert form.get("temperature", "0.0") == "0.0", body
        read += "temperature" in form
    assert read > 20


async def test_a_form_in_another_charset_is_refused() -> None:
    """Field names that only another charset can read would bypass the pinned ones."""
    kind = "multipart/form-data; boundary=B; charset=utf-16"
    engine, sent = await post([b"--B--"], path=TRANSCRIPTIONS, headers={"content-type": kind})
    assert engine.body is None
    assert sent[0]["status"] == 400
    assert json.loads(sent[1]["body"])["error"]["message"] == "The form's charset must be UTF-8."


@pytest.mark.parametrize(
    ("path", "method", "headers"),
    [
        pytest.param("/tokenize", "POST", {}, id="other-route"),
        pytest.param(CHAT, "OPTIONS", {}, id="other-method"),
        pytest.param(TRANSCRIPTIONS, "POST", {"content-type": "text/plain"}, id="no-form"),
        pytest.param(
            TRANSCRIPTIONS, "POST", {"content-type": "multipart/form-data"}, id="no-boundary"
        ),
    ],
)
async def test_other_requests_pass_unchanged(path: str, method: str, headers: dict) -> None:
    """Requests without sampling parameters are not modified."""
    engine, _ = await post([b'{"a"', b":1}"], path=path, method=method, headers=headers)
    assert engine.body == b'{"a":1}'
    assert engine.headers["content-length"] == "7"


@pytest.mark.parametrize("path", sorted(JSON_ROUTES))
async def test_every_route_is_pinned_below_a_root_path(path: str) -> None:
    """A server mounted under a prefix is pinned as well."""
    engine, _ = await post([b'{"temperature":1.5}'], path=path, root_path="/asr")
    assert engine.body is not None
    assert json.loads(engine.body)["temperature"] == 0.0


def test_the_proxy_may_ask_for_what_it_needs() -> None:
    """By default, the engine accepts the temperatures with which the proxy leaves a loop."""
    assert PluginSettings().warmer_limit >= max(TEMPERATURES)


@pytest.mark.parametrize(
    ("limit", "asked", "expected"),
    [
        pytest.param(0.0, "0.4", 0.0, id="switched-off"),
        pytest.param(0.6, "0.4", 0.4, id="allowed"),
        pytest.param(0.6, "0.6", 0.6, id="at-the-limit"),
        pytest.param(0.6, "0.7", None, id="above-the-limit"),
        pytest.param(0.6, "-0.1", None, id="negative"),
        pytest.param(0.6, "nan", None, id="nan"),
        pytest.param(0.6, "warm", None, id="text"),
    ],
)
async def test_warmer_header(
    limit: float, asked: str, expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header raises the temperature up to the limit that the server allows, not beyond."""
    monkeypatch.setenv("VIBEVOICE_WARMER_LIMIT", str(limit))
    engine, sent = await post([b'{"temperature":2}'], headers={"x-vibevoice-temperature": asked})
    if expected is None:
        assert sent[0]["status"] == 400
        message = json.loads(sent[1]["body"])["error"]["message"]
        assert message == "x-vibevoice-temperature must be a number from 0 to 0.6."
    else:
        assert engine.body is not None
        assert json.loads(engine.body) == {**pinned_values(expected), "temperature": expected}


@pytest.mark.parametrize(
    "request_class",
    [ChatCompletionRequest, CompletionRequest, TranscriptionRequest, TranslationRequest],
)
def test_vllm_knows_every_pinned_name(request_class: type) -> None:
    """If vLLM renamed a parameter, it would no longer be pinned."""
    assert PINS.keys() <= request_class.model_fields.keys()


@pytest.mark.parametrize(
    "request_class", [BatchChatCompletionRequest, ResponsesRequest, AnthropicMessagesRequest]
)
def test_other_routes_have_no_sampling_parameter_that_is_not_pinned(request_class: type) -> None:
    """The other routes have fewer parameters than chat, and all of them are pinned."""
    sampling = {n for n in request_class.model_fields if "penalty" in n or n.startswith("top_")}
    sampling -= {"top_logprobs", "length_penalty"}
    assert sampling <= PINS.keys()
    assert "temperature" in request_class.model_fields


async def test_penalties_that_are_switched_off_are_neutral(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else changes, and a caller cannot turn them on."""
    monkeypatch.setenv("VIBEVOICE_PENALTIES", "off")
    engine, _ = await post([json.dumps({"vllm_xargs": PINNED.as_xargs()}).encode()])
    assert json.loads(engine.body or b"") == {**PINS, "vllm_xargs": Penalties().as_xargs()}


def test_vllm_reads_the_pinned_values() -> None:
    """vLLM parses them as greedy, neutral parameters, plus our penalties."""
    body = {"messages": [], "temperature": 1.5, "frequency_penalty": 2, "use_beam_search": True}
    params = ChatCompletionRequest(**{**body, **PINS}).to_sampling_params(10, {"temperature": 0.7})
    assert (params.temperature, params.top_p, params.top_k, params.min_p) == (0.0, 1.0, 0, 0.0)
    assert params.repetition_penalty == 1.0
    assert params.frequency_penalty == params.presence_penalty == 0.0
    assert Penalties.from_xargs(params.extra_args) == PINNED
