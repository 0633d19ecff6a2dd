"""What the page says and keeps when the server fails halfway."""

import threading
from pathlib import Path

import anyio
from playwright.sync_api import expect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.support.fakes import serve
from tests.support.pages import OpenPage
from tests.support.processes import wait_until_it_speaks

from vibevoice_proxy.app import create_app
from vibevoice_proxy.http_protocol import HttpProtocol
from vibevoice_proxy.settings import Settings

pytest_plugins = ("tests.support.page_fixtures",)

SECOND = 2 * 24_000
"""Bytes of pcm."""
REWIND = """element => {
  element.style.animation = "none";
  element.getAnimations(); // computes the style
  element.style.animation = "";
  element.getAnimations()[0].pause();
}"""
"""Stops the animation that makes an element appear late, at its start."""
UNREACHABLE = (
    "The server closed the connection or cannot be reached. Check that it is running and try again."
)


class BreakOff:
    """ASGI middleware that sends so many bytes of speech, and closes the connection once `read` is
    set. Browsers discard what the page has not read by then."""

    def __init__(self, app: ASGIApp, size: int) -> None:
        self._app = app
        self._size = size
        self.read = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = self._size

        async def send_part(message: Message) -> None:
            nonlocal left
            if message["type"] == "http.response.body":
                message = {**message, "body": message["body"][:left], "more_body": True}
                left -= len(message["body"])
            await send(message)
            if left == 0:
                while not self.read.is_set():
                    await anyio.sleep(0.01)
                raise ConnectionAbortedError

        is_speech = scope["type"] == "http" and scope["path"] == "/v1/audio/speech"
        await self._app(scope, receive, send_part if is_speech else send)


def test_speech_that_breaks_off(open_page: OpenPage) -> None:
    """The page says so and keeps the part that it has received, marked as incomplete."""
    settings = Settings(asr_api="off", light="off", tts_model_type="espeak")
    app = BreakOff(create_app(settings), SECOND)
    with serve(app, protocol=HttpProtocol) as url:
        wait_until_it_speaks(url, "espeak")
        page = open_page("#speak", url=url)
        page.get_by_role("button", name="Speak", exact=True).click()
        expect(page.get_by_text("Playing, 0:01 so far…")).to_be_visible()
        app.read.set()
        alert = page.get_by_role("alert").filter(visible=True)
        expect(alert).to_have_text(f"The speech broke off after 0:01. {UNREACHABLE}")
        expect(page.get_by_text("Incomplete: only the part that arrived.")).to_be_visible()
        expect(page.get_by_role("button", name="Stop")).to_be_hidden()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download").click()
        assert download.value.suggested_filename == "speech-incomplete.wav"
        assert len(Path(download.value.path()).read_bytes()) == 44 + SECOND


def test_a_view_that_does_not_load(open_page: OpenPage) -> None:
    """The page says so, and the view opens on another try."""
    page = open_page("#status", light="off", tts_model_type="espeak")
    expect(page.get_by_role("heading", level=1)).to_have_text("Status")
    page.route("**/page/speak.js", lambda route: route.abort())
    link = page.get_by_role("navigation").get_by_role("link", name="Speak")
    link.click()
    expect(page.get_by_role("alert").filter(visible=True)).to_contain_text(UNREACHABLE)
    expect(link).to_have_attribute("aria-current", "page")
    expect(page.get_by_role("heading", level=1)).to_have_count(0)
    page.unroute("**/page/speak.js")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_label("Text or script")).to_be_visible()
    expect(page.get_by_role("alert").filter(visible=True)).to_have_count(0)


def test_a_script_that_does_not_load(open_page: OpenPage) -> None:
    """The page is not left blank if not even its first script runs."""
    page = open_page("#status", light="off")
    late = page.get_by_text("The page has not loaded completely.")
    expect(late).to_have_count(0)
    page.route("**/page/dom.js", lambda route: route.abort())
    page.reload(wait_until="domcontentloaded")
    late.evaluate(REWIND)
    expect(late).to_be_hidden()
    late.evaluate("element => element.getAnimations()[0].play()")
    expect(late).to_be_visible()


def test_the_sample_does_not_load(open_page: OpenPage) -> None:
    """The Transcribe view says so."""
    page = open_page(light="off")
    page.route("**/page/sample.mp3", lambda route: route.abort())
    page.get_by_role("button", name="Try a sample").click()
    expect(page.get_by_role("alert").filter(visible=True)).to_have_text(UNREACHABLE)


def test_the_response_of_a_reverse_proxy(open_page: OpenPage) -> None:
    """A page in place of JSON is not shown as the parser's error."""
    page = open_page("#live", light="off")
    page.route("**/v1/models", lambda route: route.fulfill(body="<html>Log in</html>"))
    page.get_by_role("navigation").get_by_role("link", name="Status").click()
    expect(page.get_by_role("alert").filter(visible=True)).to_contain_text(
        "The response is not from the VibeVoice server. Check the reverse proxy in front of it."
    )


def test_a_bug(open_page: OpenPage, complaints: list[str]) -> None:
    """An error that no view handles is shown instead of nothing."""
    page = open_page("#status", light="off")
    expect(page.get_by_role("heading", level=1)).to_have_text("Status")
    with page.expect_event("pageerror"):
        page.evaluate("void Promise.reject(new Error('This is a bug.'))")
    expect(page.get_by_role("alert").filter(visible=True)).to_have_text(
        "Something went wrong: This is a bug. "
        "If the page no longer works, save your transcripts and reload it."
    )
    assert complaints == ["This is a bug."]
    complaints.clear()
