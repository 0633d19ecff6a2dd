"""Debian's Chromium with the page of a real proxy.

A test module gets these fixtures by `pytest_plugins = ("tests.support.page_fixtures",)`. They live
as long as the module: Playwright's loop must not run while tests of other modules use asyncio.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import soundfile
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)
from scripts.stack import answers
from tests.support.fakes import EngineAddress, FakeEngine, serve
from tests.support.installing import require_npm
from tests.support.pages import OTHER_HOST, OpenPage
from tests.support.processes import wait_for

from vibevoice_light import ModelFilesMissing, find_moonshine
from vibevoice_proxy.app import create_app
from vibevoice_proxy.http_protocol import HttpProtocol
from vibevoice_proxy.settings import Settings

ROOT = Path(__file__).parents[2]
CONVERSATION = ROOT / "samples" / "conversation.flac"
NPM = ROOT / "tests" / "page" / "npm"
PATIENCE = 120_000
"""Time-out of a step in milliseconds, for a busy machine."""

EXPECTED = (
    "Failed to load resource",
    "WebSocket connection to",
    "The Cross-Origin-Opener-Policy header has been ignored",  # over http from another machine
)
"""Console messages about responses of the server."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium with the sample conversation, repeated, as its microphone."""
    executable = shutil.which("chromium")
    if not executable:
        pytest.skip("chromium is not installed")
    heard = tmp_path_factory.mktemp("microphone") / "conversation.wav"
    samples, rate = soundfile.read(CONVERSATION, dtype="int16")
    soundfile.write(heard, samples, rate)
    arguments = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={heard}",
        f"--host-resolver-rules=MAP {OTHER_HOST} 127.0.0.1",
    ]
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=arguments, timeout=PATIENCE
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def light_url() -> Iterator[str]:
    """A proxy with the light recognizer, hibari and espeak, without an engine."""
    folder = os.environ.get("VIBEVOICE_LIGHT_MODELS", "")
    try:
        find_moonshine(folder)
    except ModelFilesMissing as error:
        pytest.skip(str(error))
    settings = Settings(asr_api="off", light="on", light_models=folder, light_workers=1)
    with serve(create_app(settings), protocol=HttpProtocol) as url:
        wait_for(lambda: answers(f"{url}/health"))
        yield url


@pytest.fixture(scope="module")
def _page_engine_server() -> Iterator[tuple[EngineAddress, str]]:
    address = EngineAddress()
    with serve(address) as url:
        yield address, url


@pytest.fixture(scope="module")
def page_engine_url(_page_engine_server: tuple[EngineAddress, str]) -> str:
    """Base URL of the fake engine."""
    return _page_engine_server[1]


@pytest.fixture
def page_engine(_page_engine_server: tuple[EngineAddress, str]) -> FakeEngine:
    """A new fake engine for the proxies that the test starts."""
    return _page_engine_server[0].replace(FakeEngine(decode_audio=False))


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A new browser profile."""
    context = browser.new_context(
        viewport={"width": 1200, "height": 900},
        locale="en-US",
        permissions=["microphone", "clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


@pytest.fixture
def complaints() -> list[str]:
    """Errors and warnings in the browser's console, except for error responses of the server."""
    return []


@pytest.fixture
def open_page(
    context: BrowserContext,
    page_engine: FakeEngine,
    request: pytest.FixtureRequest,
    complaints: list[str],
) -> Iterator[OpenPage]:
    """Opens the page. After the test, the console must have no errors or warnings."""
    page = context.new_page()

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(EXPECTED):
            complaints.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    with ExitStack() as servers:

        def open_(view: str = "", url: str = "", **settings: Any) -> Page:
            if url:
                pass
            elif settings:
                settings.setdefault("asr_base_url", request.getfixturevalue("page_engine_url"))
                settings.setdefault("tts_model_type", "off")
                app = create_app(Settings(**settings))
                url = servers.enter_context(serve(app, protocol=HttpProtocol))
            else:
                url = request.getfixturevalue("light_url")
            page.goto(f"{url}/{view}")
            return page

        yield open_
        page_engine.release.set()
        page.close()
    assert complaints == []


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The npm packages that check the page, installed from package-lock.json if needed."""
    return require_npm(NPM)
