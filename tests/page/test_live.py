"""The Live view in Chromium, with the sample conversation as its microphone."""

import re
from pathlib import Path

from playwright.sync_api import expect
from tests.support.pages import OpenPage

pytest_plugins = ("tests.support.page_fixtures",)


def test_captions(open_page: OpenPage) -> None:
    """Captions appear with their speakers; speakers can be renamed and captions downloaded."""
    page = open_page("#live")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    captions = page.locator(".captions > li")
    expect(captions.first).to_contain_text("The person you are calling is not at their desk")
    expect(page.locator(".captions .name", has_text="B")).not_to_have_count(0)
    assert page.get_by_label("Level of the microphone").evaluate("meter => meter.value") > 0
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    page.get_by_label("Name of speaker A").fill("Anna")
    expect(page.locator(".captions .name").first).to_have_text("Anna")
    page.get_by_label("Format", exact=True).select_option("srt")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    text = Path(download.value.path()).read_text()
    assert re.match(r"1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\nAnna: The person", text)


def test_a_key_is_asked_for(open_page: OpenPage) -> None:
    """A key with characters that a subprotocol cannot have is exchanged for a client secret."""
    key = "sk/page=1"
    page = open_page("#live", light="off", api_keys=(key,))
    with page.expect_websocket() as opened:
        page.get_by_role("button", name="Start").click()
        page.get_by_label("API key").fill(key)
        page.get_by_label("API key").press("Enter")
    assert opened.value.url.endswith("/v1/realtime?intent=transcription")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()


def test_a_server_that_takes_no_live_audio(open_page: OpenPage) -> None:
    """The page shows the API's message."""
    page = open_page("#live", asr_api="off", light="off", tts_model_type="espeak")
    page.get_by_role("button", name="Start").click()
    message = "This server does not transcribe (ASR_API=off)."
    expect(page.get_by_role("alert").filter(has_text=message)).to_be_visible()
