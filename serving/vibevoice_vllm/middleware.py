"""Pins the decoding parameters of every request to the engine, whatever its body says.

A pure ASGI middleware for vLLM's `--middleware`. The body of an hour of audio is about 94 MB, so it
is never parsed. It passes through chunk by chunk, and the pinned values are appended at its end,
where they override equal keys from the caller (in JSON the last of several equal keys wins, in a
form the last of several equal fields).

Pinned: temperature, top_p, top_k, min_p, and beam search, to plain greedy decoding; vLLM's own
repetition, frequency, and presence penalties, to neutral; and all of `vllm_xargs`, to the penalties
on the words of the segment being written. A caller's own `vllm_xargs` are dropped. Where the
operator has turned the penalties off (VIBEVOICE_PENALTIES=off), these are neutral too.

Left to the caller, since they affect the length or format of the answer but not the choice of the
next token: max_tokens (limited by the engine's `max_new_tokens`), min_tokens, ignore_eos, stop,
logprobs, structured outputs, logit_bias, bad_words, allowed_token_ids, and seed, which greedy
decoding ignores. For `n` above 1, vLLM returns 400, as for any greedy request.

Routes whose sampling parameters are elsewhere in the body are not pinned: vLLM disables
`/inference/v1/generate` and `/cohere/v2/chat` by default. vLLM does not read `vllm_xargs` on
`/v1/chat/completions/batch`, which is greedy without penalties.
"""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from python_multipart.multipart import parse_options_header
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vibevoice_core.headers import TEMPERATURE as TEMPERATURE_HEADER
from vibevoice_core.penalties import (
    PINNED,
    TEMPERATURE,
    WARM_TOP_P,
    Penalties,
    pinned_penalties,
)
from vibevoice_vllm.settings import PluginSettings

JSON_ROUTES = frozenset(
    {
        "/v1/chat/completions",
        "/v1/chat/completions/batch",
        "/v1/completions",
        "/v1/responses",
        "/v1/messages",
        "/invocations",
    }
)
"""vLLM routes that take sampling parameters as top-level keys of a JSON object."""
FORM_ROUTES = frozenset({"/v1/audio/transcriptions", "/v1/audio/translations"})
"""vLLM routes that take them as fields of a multipart form."""

_SPACE = b" \t\r\n"


def pinned_values(
    temperature: float = TEMPERATURE, penalties: Penalties = PINNED
) -> dict[str, Any]:
    """The sampling parameters set on every request, under the names of vLLM's API."""
    return {
        "temperature": temperature,
        "top_p": WARM_TOP_P if temperature > 0 else 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "use_beam_search": False,
        "vllm_xargs": penalties.as_xargs(),
    }


class Body(Protocol):
    """Rewrites a request body on its way to the engine and adds `growth` bytes to it."""

    growth: int

    def feed(self, chunk: bytes) -> bytes: ...

    def close(self) -> bytes: ...


class JSONBody:
    """Appends keys to a JSON object.

    A body that is not an object is passed on unchanged except for trailing spaces, and vLLM rejects
    it with 400. UTF-16 and UTF-32 bodies, which Python's `json` would accept, are made invalid,
    because the appended bytes are UTF-8.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._keys = json.dumps(dict(values), separators=(",", ":")).encode()[1:-1]
        self.growth = len(self._keys) + 1
        self._start = b""
        self._opening = b""
        self._held = bytearray()
        """A possible end of the body: the last brace and white space after it, or white space."""

    def feed(self, chunk: bytes) -> bytes:
        if len(self._start) < 4:
            self._start = (self._start + chunk)[:4]
        if len(self._opening) < 2:
            self._opening = (self._opening + chunk.translate(None, _SPACE))[:2]
        body = chunk.rstrip(_SPACE)
        if not body:
            self._held += chunk
            return b""
        end = len(body) - 1 if body.endswith(b"}") else len(body)
        passed = bytes(self._held) + chunk[:end]
        self._held[:] = chunk[end:]
        return passed

    def close(self) -> bytes:
        held = bytes(self._held)
        if not json.detect_encoding(self._start).startswith("utf-8"):
            return held + b"}" * self.growth
        if not held.startswith(b"}"):
            return held + b" " * self.growth
        return (b" " if self._opening == b"{}" else b",") + self._keys + held


class FormBody:
    """Appends fields to a multipart form, before its closing boundary.

    A form without a closing boundary is made invalid: a lenient parser would accept the fields
    before the end. The first field is appended twice, since a part that has no data and ends
    immediately may swallow it (its closing boundary shares the line break that ends its headers).
    """

    def __init__(self, values: Mapping[str, Any], boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._fields = b"".join(
            self._delimiter
            + f'\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
            + (value if isinstance(value, str) else json.dumps(value)).encode()
            for name, value in [*list(values.items())[:1], *values.items()]
        )
        self.growth = len(self._fields)
        self._held = b""
        """A possible beginning of the closing boundary."""
        self._closed = False

    def feed(self, chunk: bytes) -> bytes:
        if self._closed:
            return chunk
        closing = self._delimiter + b"--"
        data = self._held + chunk
        at = data.find(closing)
        if at >= 0:
            self._closed, self._held = True, b""
            return data[:at] + self._fields + data[at:]
        passed = max(0, len(data) - len(closing) + 1)
        self._held = data[passed:]
        return data[:passed]

    def close(self) -> bytes:
        if self._closed:
            return b""
        return self._held + (self._delimiter + b"\r\n\0").ljust(self.growth)


class PinnedDecoding:
    """The middleware: `--middleware vibevoice_vllm.middleware.PinnedDecoding`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        settings = PluginSettings()
        self._warmer_limit = settings.warmer_limit
        self._penalties = pinned_penalties(settings.penalties)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self._app(scope, receive, send)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path not in JSON_ROUTES | FORM_ROUTES:
            return await self._app(scope, receive, send)
        scope = {**scope, "headers": list(scope["headers"])}
        headers = MutableHeaders(scope=scope)
        try:
            body = self._body(path, headers)
        except ValueError as error:
            return await _refusal(str(error))(scope, receive, send)
        if body is None:
            return await self._app(scope, receive, send)
        if (length := headers.get("content-length")) is not None and length.isdecimal():
            headers["content-length"] = str(int(length) + body.growth)
        await self._app(scope, _through(body, receive), send)

    def _body(self, path: str, headers: MutableHeaders) -> Body | None:
        """Choose how to rewrite the request's body; None if the route cannot read such a form.

        Raises:
            ValueError: the request cannot be pinned. The message states what was expected.
        """
        temperature = self._temperature(headers.get(TEMPERATURE_HEADER))
        values = pinned_values(temperature, self._penalties)
        if path in JSON_ROUTES:
            return JSONBody(values)
        kind, options = parse_options_header(headers.get("content-type"))
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            return None
        charset = options.get(b"charset", b"utf-8").lower()
        if charset not in (b"utf-8", b"us-ascii"):
            raise ValueError("The form's charset must be UTF-8.")
        return FormBody(values, options[b"boundary"])

    def _temperature(self, asked: str | None) -> float:
        limit = self._warmer_limit
        if asked is None or limit == 0:
            return TEMPERATURE
        message = f"{TEMPERATURE_HEADER} must be a number from 0 to {limit}."
        try:
            temperature = float(asked)
        except ValueError:
            raise ValueError(message) from None
        if not 0 <= temperature <= limit:
            raise ValueError(message)
        return temperature


def _through(body: Body, receive: Receive) -> Receive:
    """Wrap `receive` so that the request's body passes through `body`."""
    closed = False

    async def pinned() -> Message:
        nonlocal closed
        message = await receive()
        if message["type"] != "http.request" or closed:
            return message
        data = body.feed(message.get("body", b""))
        if not message.get("more_body", False):
            closed = True
            data += body.close()
        return {**message, "body": data}

    return pinned


def _refusal(message: str) -> JSONResponse:
    """A 400 in the shape of vLLM's own errors."""
    error = {"message": message, "type": "BadRequestError", "param": None, "code": 400}
    return JSONResponse({"error": error}, status_code=400)
