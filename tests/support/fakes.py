"""A tiny engine with vLLM's chat completions API on a real socket, for responses and faults that a
real one cannot be made to produce.

`python -m tests.support.fakes PORT [SECONDS]` runs it as a process.
"""

import asyncio
import base64
import binascii
import io
import json
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import soundfile
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

TWO_SPEAKERS = (
    '[{"Start":0.0,"End":1.5,"Speaker":0,"Content":"Good morning."},'
    '{"Start":1.5,"End":2.25,"Speaker":1,"Content":"Hello."}]'
)

TRANSCRIPTIONS = "/v1/audio/transcriptions"
StartProxy = Callable[..., str]
"""Starts a proxy with the given settings and returns its base URL without /v1."""


@dataclass
class FakeEngine:
    """The configured responses and the recorded requests."""

    text: str = TWO_SPEAKERS
    """The model's text."""
    split: int = 7
    """Characters per delta."""
    seconds: float = 0.0
    """Delay in seconds before each response begins."""
    status: int = 200
    error_message: str = "boom /secret/path VLLM_MAX_AUDIO_DECODE_BYTES"
    healthy: bool = True
    stall_after: int | None = None
    """Number of deltas after which nothing is sent until `release`."""
    stall_if: Callable[[str], bool] = lambda _: True
    """Whether a request with this user text stalls."""
    fail_if: Callable[[str], bool] = lambda _: False
    """Whether a request with this user text gets an error in the stream."""
    text_for: Callable[[str], str | None] = lambda _: None
    """The model's text for a request with this user text; None for `text`."""
    release: threading.Event = field(default_factory=threading.Event)
    cut_after: int | None = None
    """Number of deltas after which the connection is closed without an end."""
    cut_if: Callable[[str], bool] = lambda _: True
    """Whether the response to a request with this user text is cut."""
    fail_after: int | None = None
    """Number of deltas after which an error object is sent in the stream."""
    gate_after: int | None = None
    """Number of deltas after which the rest waits for `gate`."""
    gate: threading.Event = field(default_factory=threading.Event)
    junk_after: int | None = None
    """Number of deltas after which something other than a chat completion is sent."""
    finish_reason: str = "stop"
    answers: list[tuple[str, str]] = field(default_factory=list)
    """Text and finish reason of the next responses; after that, `text` is used, or the rest of it
    after an assistant message."""
    refuses_to_continue: bool = False
    """Respond with `refusal` to a request that ends with an assistant message."""
    refusal: int = 400
    at_once: int = 0
    """Responses in progress."""
    most_at_once: int = 0
    asked: int = 0
    """Number of chat completions requested, whatever the response."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    """The JSON bodies received, without their audio."""
    headers: list[dict[str, str]] = field(default_factory=list)
    audio: list[tuple[int, int, int]] = field(default_factory=list)
    """(samples, rate, channels) of each recording received."""
    closed: threading.Event = field(default_factory=threading.Event)
    """Set when a client disconnects during its request or a response."""
    decode_audio: bool = True

    def app(self) -> ASGIApp:
        """The engine's two routes."""
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
            ]
        )

    async def _health(self, _: Request) -> Response:
        return PlainTextResponse("", 200 if self.healthy else 503)

    async def _chat(self, request: Request) -> Response:
        self.asked += 1
        if self.status != 200:
            error = {"message": self.error_message, "type": "X", "param": None, "code": self.status}
            return JSONResponse({"error": error}, self.status)
        try:
            body = json.loads(await request.body())
        except ClientDisconnect:
            self.closed.set()
            return Response(status_code=499)
        url = body["messages"][1]["content"][0]["audio_url"]
        self.headers.append(dict(request.headers))
        if self.decode_audio:
            data = base64.b64decode(url["url"].partition(",")[2], validate=True)
            with soundfile.SoundFile(io.BytesIO(data)) as audio:
                self.audio.append((audio.frames, audio.samplerate, audio.channels))
        else:
            binascii.a2b_base64(url["url"][-64:])
        url["url"] = url["url"].partition(",")[0]
        self.requests.append(body)
        if self.refuses_to_continue and body["messages"][-1]["role"] == "assistant":
            return JSONResponse({"error": {"message": self.error_message}}, self.refusal)
        text, finish_reason = self.text, self.finish_reason
        if self.answers:
            text, finish_reason = self.answers.pop(0)
        elif (last := body["messages"][-1])["role"] == "assistant":
            text = text.removeprefix(last["content"])
        user_text = body["messages"][1]["content"][1]["text"]
        text = text if (other := self.text_for(user_text)) is None else other
        answer = self._answer(text, finish_reason, user_text)
        return StreamingResponse(answer, media_type="text/event-stream")

    async def _answer(self, text: str, finish_reason: str, user_text: str) -> AsyncIterator[str]:
        deltas = [text[at : at + self.split] for at in range(0, len(text), self.split)]
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
            for number, delta in enumerate([*deltas, None]):
                if number == self.gate_after:
                    await _wait(self.gate)
                if number == self.stall_after and self.stall_if(user_text):
                    await _wait(self.release)
                if number == self.cut_after and self.cut_if(user_text):
                    return
                if number == self.fail_after or self.fail_if(user_text):
                    yield _message({"error": {"message": self.error_message, "code": 500}})
                if number == self.junk_after:
                    yield "data: <html>\n\n"
                if delta is not None:
                    yield _choice({"content": delta}, None)
            yield _choice({}, finish_reason)
            usage = {"prompt_tokens": 100, "completion_tokens": 40, "total_tokens": 140}
            yield _message({"choices": [], "usage": usage})
            yield "data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.closed.set()
            raise
        finally:
            self.at_once -= 1


class EngineAddress:
    """An ASGI app that serves another engine in each test. A request that an earlier test has left
    behind stays with the engine of that test, so it changes nothing in the next one."""

    def __init__(self) -> None:
        self.replace(FakeEngine())

    def replace(self, engine: FakeEngine) -> FakeEngine:
        """Serve `engine` from now on, and return it."""
        self._app = engine.app()
        return engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


async def _wait(event: threading.Event) -> None:
    while not event.is_set():
        await asyncio.sleep(0.01)


def _choice(delta: dict[str, str], finish_reason: str | None) -> str:
    return _message({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def _message(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


@contextmanager
def serve(
    app: ASGIApp,
    port: int = 0,
    *,
    protocol: type[asyncio.Protocol] | str = "auto",
    websockets: type[asyncio.Protocol] | str = "auto",
    ping_seconds: float = 20.0,
) -> Iterator[str]:
    """Serve `app` on a real socket, on a free port by default; yields its base URL. WebSockets are
    pinged every `ping_seconds`, and have as long to answer."""
    config = uvicorn.Config(
        app,
        "127.0.0.1",
        port,
        http=protocol,  # type: ignore[arg-type]
        ws=websockets,  # type: ignore[arg-type]
        ws_ping_interval=ping_seconds,
        ws_ping_timeout=ping_seconds,
        log_level="error",
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        if not server.ready.wait(30):
            raise RuntimeError("the server did not start")
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


class _Server(uvicorn.Server):
    """A server that signals when it is listening."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.ready.set()


if __name__ == "__main__":
    port, seconds = [*sys.argv[1:], "0"][:2]
    engine = FakeEngine(decode_audio=False, seconds=float(seconds))
    uvicorn.run(engine.app(), port=int(port), log_level="error")
