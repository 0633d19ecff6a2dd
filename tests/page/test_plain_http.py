"""The page over http from another machine, where browsers lack the APIs of secure contexts."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.support.fakes import FakeEngine, serve
from tests.support.pages import OTHER_HOST, OpenPage, choose, rows, say_who_clones, talk
from tests.support.processes import wait_until_it_speaks

from vibevoice_proxy.app import create_app
from vibevoice_proxy.http_protocol import HttpProtocol
from vibevoice_proxy.settings import Settings

pytest_plugins = ("tests.support.page_fixtures",)


@pytest.fixture(scope="module")
def open_url(page_engine_url: str) -> Iterator[str]:
    """A proxy that other machines can reach."""
    settings = Settings(
        api_host="0.0.0.0", asr_base_url=page_engine_url, light="off", tts_model_type="espeak"
    )
    with serve(create_app(settings), protocol=HttpProtocol) as url:
        wait_until_it_speaks(url, "espeak")
        yield url.replace("127.0.0.1", OTHER_HOST)


@pytest.fixture
def page(open_page: OpenPage, open_url: str) -> Page:
    """The Transcribe view, opened on another machine."""
    page = open_page(url=open_url)
    assert not page.evaluate("isSecureContext")
    return page


def show(page: Page, view: str) -> None:
    """Open a view by its link."""
    page.get_by_role("navigation").get_by_role("link", name=view).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(view)


def test_transcribe(page: Page, page_engine: FakeEngine) -> None:
    """Files are transcribed; the transcript is copied and downloaded."""
    page_engine.text = json.dumps([{"Start": 0, "End": 2, "Speaker": 0, "Content": "Good day."}])
    choose(page, talk())
    expect(page.locator(".job .state")).to_have_text("Done")
    expect(rows(page)).to_have_text("0:00AGood day.")
    page.get_by_role("button", name="Copy").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Copied.")).to_be_visible()
    expect(page.get_by_role("button", name="Copy")).to_be_focused()
    search = page.get_by_label("Search the transcript")
    search.focus()
    page.keyboard.press("Control+v")
    expect(search).to_have_value("A: Good day.")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert Path(download.value.path()).read_text() == "A: Good day.\n"


def test_speak_and_status(page: Page) -> None:
    """Speech is generated and played, and every part is shown."""
    show(page, "Speak")
    page.get_by_role("button", name="Speak", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="by espeak; first sound")).to_be_visible()
    show(page, "Status")
    expect(page.locator(".parts li.ok")).to_have_count(3)


def test_the_microphone_needs_a_secure_context(page: Page) -> None:
    """Live and both recordings say so, and how to reach the server on localhost."""
    port = page.url.split(":")[2].partition("/")[0]
    message = (
        "Browsers allow the microphone only over https or on localhost. Run "
        f"“ssh -L 8899:127.0.0.1:{port} {OTHER_HOST}” and open http://localhost:8899/, "
        "or use a proxy with TLS."
    )
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.get_by_role("alert").filter(visible=True)).to_have_text(message)
    show(page, "Live")
    expect(page.get_by_role("alert").filter(visible=True)).to_have_text(message)
    expect(page.get_by_role("button", name="Start")).to_be_disabled()
    say_who_clones(page, espeak=True)
    show(page, "Speak")
    page.get_by_text("Clone a voice").click()
    page.get_by_label("This person has given").check()
    page.get_by_label("I will tell listeners").check()
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.get_by_role("status").filter(has_text=message)).to_be_visible()
