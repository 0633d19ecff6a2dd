"""The real Open WebUI with the settings from docs/guides/open-webui.md."""

import io
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import av
import httpx2
import pytest
from av.audio.stream import AudioStream
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from scripts.stack import ROOT, free_port
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp
from tests.support.processes import running
from tests.support.snippets import blocks

ENVIRONMENT = Path(os.environ.get("OPEN_WEBUI_ENV", ROOT / ".open-webui"))
"""Created by scripts/setup_open_webui.sh."""
ACCOUNT = {"name": "Ada", "email": "ada@example.com", "password": "correct horse"}
START_SECONDS = 300
PATIENCE = 60_000
"""Milliseconds that the page may take for a step, on a busy machine."""
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


def documented_settings(proxy_url: str, key: str, number: int = 0) -> dict[str, str]:
    """A block of settings in docs/guides/open-webui.md, for a proxy at `proxy_url`: 0 is the first
    one, 1 that of calls."""
    found = [b.code for b in blocks("docs/guides/open-webui.md") if b.language == "ini"]
    block = found[number].replace("http://127.0.0.1:8899", proxy_url).replace("YOUR_KEY", key)
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
    return chat_model(lambda message: message)


def chat_model(reply: Callable[[str], str]) -> ASGIApp:
    """A chat model named `echo` with OpenAI's API, which answers a message with `reply`."""

    async def chat(request: Request) -> Response:
        body = await request.json()
        answer = reply(body["messages"][-1]["content"])
        return StreamingResponse(_chunks(answer), media_type="text/event-stream")

    return Starlette(
        routes=[
            Route("/v1/models", _models),
            Route("/v1/chat/completions", chat, methods=["POST"]),
        ]
    )


async def _models(_: Request) -> Response:
    return JSONResponse({"object": "list", "data": [{"id": "echo", "object": "model"}]})


async def _chunks(answer: str) -> AsyncIterator[str]:
    for delta, finish_reason in (({"role": "assistant", "content": answer}, None), ({}, "stop")):
        choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        chunk = {"id": "1", "object": "chat.completion.chunk", "model": "echo", "choices": [choice]}
        yield f"data: {json.dumps(chunk)}\n\n"
    yield "data: [DONE]\n\n"


@contextmanager
def chromium(recording: Path) -> Iterator[Browser]:
    """Chromium whose microphone plays `recording` once each time it is opened; skips the test if
    Chromium is missing."""
    executable = shutil.which("chromium")
    if not executable:
        pytest.skip("chromium is not installed")
    arguments = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={recording}%noloop",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield browser
        browser.close()


def signed_up(url: str) -> str:
    """The token of the first user of Open WebUI at `url`, who signs up."""
    answer = httpx2.post(f"{url}/api/v1/auths/signup", json=ACCOUNT, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.json()["token"]


def signed_in(browser: Browser, url: str) -> BrowserContext:
    """A context of `browser` whose user has signed in at `url` and dismissed the release notes."""
    context = browser.new_context(
        base_url=url,
        viewport={"width": 1100, "height": 720},
        permissions=["microphone"],
        locale="en-US",
    )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto("/auth")
    page.get_by_label("Email").fill(ACCOUNT["email"])
    page.get_by_placeholder("Enter Your Password").fill(ACCOUNT["password"])
    page.get_by_role("button", name="Sign in").click()
    with page.expect_response("**/user/settings/update"):
        page.get_by_role("button", name="Okay, Let's Go!").click()
    page.close()
    return context


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
