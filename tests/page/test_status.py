"""The Status view in Chromium."""

import re

import httpx2
from playwright.sync_api import expect
from tests.support.fakes import FakeEngine
from tests.support.pages import OpenPage, choose, rows, talk
from websockets.sync.client import connect

pytest_plugins = ("tests.support.page_fixtures",)


def test_parts_models_and_links(open_page: OpenPage) -> None:
    """The view lists parts, models and links."""
    page = open_page("#status", light="off", tts_model_type="espeak")
    expect(page.locator(".parts li.ok")).to_have_count(3)
    expect(page.locator(".parts")).to_contain_text("VibeVoice engine")
    expect(page.locator(".models")).to_contain_text("whisper-1")
    for name, path in (("API documentation", "docs"), ("Metrics", "metrics"), ("Health", "health")):
        assert page.get_by_role("link", name=name).get_attribute("href") == path
    expect(page.get_by_role("img")).to_have_count(5)


def test_a_part_that_is_down_says_why(open_page: OpenPage) -> None:
    """The view shows the message from /health."""
    page = open_page("#status", light="off", asr_base_url="http://127.0.0.1:9")
    expect(page.locator(".parts li.bad")).to_contain_text("VibeVoice engine")


def test_work_is_plotted(open_page: OpenPage, page_engine: FakeEngine) -> None:
    """The plots show running requests, the real-time factor and errors."""
    page = open_page("#status", light="off")
    url = page.url.partition("#")[0]
    expect(page.get_by_role("img", name=re.compile("^Errors: [–0],"))).to_be_visible()
    # The page asks for enrolled speakers when its options open: not an error.
    assert httpx2.get(f"{url}v1/audio/speakers", timeout=60).status_code == 403
    files = {"file": b"no recording"}
    httpx2.post(f"{url}v1/audio/transcriptions", files=files, timeout=60)
    expect(page.get_by_role("img", name=re.compile("^Errors: 1,"))).to_be_visible()
    page_engine.stall_after = 3
    page.get_by_role("link", name="Transcribe").click()
    choose(page, talk())
    expect(page.locator(".job .state")).to_have_text("Transcribing…")
    page.get_by_role("link", name="Status").click()
    expect(page.get_by_role("img", name=re.compile("^Running: 1,"))).to_be_visible()
    page_engine.release.set()
    expect(page.get_by_role("img", name=re.compile(r"^Real-time factor: \d"))).to_be_visible()
    page.get_by_role("link", name="Transcribe").click()
    expect(rows(page)).not_to_have_count(0)


def test_live_sessions_are_plotted(open_page: OpenPage) -> None:
    """Sessions of any client are shown while they are open."""
    page = open_page("#status", light="off")
    address = page.url.partition("#")[0].replace("http", "ws", 1)
    with connect(f"{address}v1/realtime?intent=transcription", open_timeout=60):
        expect(page.get_by_role("img", name=re.compile("^Live sessions: 1,"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Live sessions: 0, max. 1"))).to_be_visible()


def test_a_key_is_asked_for_once(open_page: OpenPage) -> None:
    """Whoever declines to enter a key is not asked again by the view's own requests, only when they
    try again."""
    page = open_page("#status", light="off", api_keys=("sk-page",))
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    note = page.locator(".note", has_text="No API key provided")
    expect(note).to_be_visible()
    for _ in range(2):
        with page.expect_response("**/metrics"):
            pass
    expect(dialog).to_be_hidden()
    note.get_by_role("button", name="Try again").click()
    page.get_by_label("API key").fill("sk-page")
    page.get_by_label("API key").press("Enter")
    expect(page.locator(".plots figure")).to_have_count(5)
    expect(note).to_be_hidden()
