"""The real Open WebUI with the settings from docs/open-webui.md."""

import io
import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import av
from av.audio.stream import AudioStream
from scripts.stack import ROOT, free_port
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp
from tests.support.processes import running

ENVIRONMENT = Path(os.environ.get("OPEN_WEBUI_ENV", ROOT / ".open-webui"))
"""Created by scripts/setup_open_webui.sh."""
ACCOUNT = {"name": "Ada", "email": "ada@example.com", "password": "correct horse"}
START_SECONDS = 300
_WITHOUT = {
    "USE_SLIM_DOCKER": "true",
    "OFFLINE_MODE": "true",
    "ENABLE_OLLAMA_API": "false",
    # the slim installation has no vector database
    "BYPASS_EMBEDDING_AND_RETRIEVAL": "true",
    "ENABLE_TITLE_GENERATION": "false",
    "ENABLE_TAGS_GENERATION": "false",
    "ENABLE_FOLLOW_UP_GENERATION": "false",
}
"""Disables everything that needs models or the network."""


def documented_settings(proxy_url: str, key: str) -> dict[str, str]:
    """The first block of settings in docs/open-webui.md, for a proxy at `proxy_url`."""
    page = (ROOT / "docs" / "open-webui.md").read_text()
    block = page.split("```\n", 2)[1]
    block = block.replace("http://127.0.0.1:8899", proxy_url).replace("YOUR_KEY", key)
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", block, re.M))


@contextmanager
def start_open_webui(data: Path, settings: dict[str, str]) -> Iterator[str]:
    """Yield the base URL of Open WebUI until the block ends.

    Args:
        data: folder for its database, other data and its log.
        settings: environment variables in addition to those that disable its own models.

    Raises:
        RuntimeError: Open WebUI exited or was not ready in time; the message ends with its log.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environ = {"DATA_DIR": str(data), "WEBUI_SECRET_KEY": "tests", **_WITHOUT, **settings}
    command = [ENVIRONMENT / "bin" / "open-webui", "serve", "--host", "127.0.0.1"]
    with running(
        "Open WebUI",
        [*command, "--port", f"{port}"],
        f"{url}/health",
        data / "log",
        START_SECONDS,
        environ={**os.environ, **environ},
        cwd=data,
    ):
        yield url


def echo_model() -> ASGIApp:
    """A chat model with OpenAI's API that returns every message unchanged."""
    return Starlette(
        routes=[
            Route("/v1/models", _models),
            Route("/v1/chat/completions", _chat, methods=["POST"]),
        ]
    )


async def _models(_: Request) -> Response:
    return JSONResponse({"object": "list", "data": [{"id": "echo", "object": "model"}]})


async def _chat(request: Request) -> Response:
    body = await request.json()
    answer = body["messages"][-1]["content"]
    return StreamingResponse(_chunks(answer), media_type="text/event-stream")


async def _chunks(answer: str) -> AsyncIterator[str]:
    for delta, finish_reason in (({"role": "assistant", "content": answer}, None), ({}, "stop")):
        choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        chunk = {"id": "1", "object": "chat.completion.chunk", "model": "echo", "choices": [choice]}
        yield f"data: {json.dumps(chunk)}\n\n"
    yield "data: [DONE]\n\n"


def transcoded(recording: Path, container: str, codec: str) -> bytes:
    """`recording` in another container and codec, at 48 kHz as recorded by browsers and phones."""
    file = io.BytesIO()
    with av.open(recording) as source, av.open(file, "w", format=container) as output:
        stream = cast(AudioStream, output.add_stream(codec, rate=48_000, layout="mono"))
        resampler = av.AudioResampler(
            stream.format, "mono", 48_000, frame_size=stream.frame_size or 1024
        )
        for frame in [*source.decode(audio=0), None]:
            for resampled in resampler.resample(frame):
                output.mux(stream.encode(resampled))
        output.mux(stream.encode(None))
    return file.getvalue()
