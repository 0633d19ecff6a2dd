"""The microphone is open only while a view records."""

import pytest
from playwright.sync_api import Page, expect
from tests.support.pages import (
    HOLD_MICROPHONE,
    OpenPage,
    say_who_clones,
    wait_until,
    wait_until_recorded,
)

pytest_plugins = ("tests.support.page_fixtures",)

OPEN = "streams.filter((stream) => stream.active).length"


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """A page that counts the microphone's streams."""
    page = open_page(light="off", tts_model_type="espeak")
    page.evaluate(HOLD_MICROPHONE)
    return page


@pytest.fixture
def cloning(page: Page) -> Page:
    """The Speak view, ready to record a voice. The server has no model that could clone it."""
    say_who_clones(page, espeak=True)
    show(page, "Speak")
    page.get_by_text("Clone a voice").click()
    page.get_by_label("This person has given").check()
    page.get_by_label("I will tell listeners").check()
    return page


def show(page: Page, view: str) -> None:
    """Open a view by its link."""
    page.get_by_role("navigation").get_by_role("link", name=view).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(view)


def record(page: Page) -> None:
    """Start a recording, with one click more than needed."""
    page.get_by_role("button", name="Record", exact=True).dblclick()
    page.evaluate("allow()")
    expect(page.get_by_role("button", name="Stop recording")).to_be_visible()
    assert page.evaluate("streams.length") == page.evaluate(OPEN) == 1


def wait_until_closed(page: Page) -> None:
    """Wait until the only stream that was opened is closed."""
    wait_until(page, f"streams.length === 1 && {OPEN} === 0")


def test_a_double_click(cloning: Page) -> None:
    """Two clicks open the microphone once, and Stop closes it."""
    record(cloning)
    cloning.get_by_role("button", name="Stop recording").click()
    expect(cloning.get_by_text("The next speech uses the voice in Recording")).to_be_visible()
    assert cloning.evaluate(OPEN) == 0


def test_the_sample_is_kept_when_the_view_changes(cloning: Page) -> None:
    """Leaving Speak closes the microphone and keeps the sample."""
    record(cloning)
    show(cloning, "Status")
    wait_until_closed(cloning)
    show(cloning, "Speak")
    expect(cloning.get_by_text("The next speech uses the voice in Recording")).to_be_visible()


def test_the_recording_is_transcribed_when_the_view_changes(page: Page) -> None:
    """Leaving Transcribe closes the microphone and transcribes the recording."""
    record(page)
    wait_until_recorded(page)
    show(page, "Status")
    wait_until_closed(page)
    show(page, "Transcribe")
    expect(page.locator(".job .state")).to_have_text("Done")
    expect(page.locator(".editor .segment")).not_to_have_count(0)


def test_the_view_changes_while_the_browser_asks(page: Page) -> None:
    """The microphone is closed again, and nothing is recorded."""
    page.get_by_role("button", name="Record", exact=True).click()
    show(page, "Status")
    page.evaluate("allow()")
    wait_until_closed(page)
    show(page, "Transcribe")
    expect(page.get_by_role("button", name="Record", exact=True)).to_be_visible()
    expect(page.locator(".job")).to_have_count(0)


def test_withdrawn_consent(cloning: Page) -> None:
    """Without consent, the recording ends and is discarded."""
    record(cloning)
    consent = cloning.get_by_label("This person has given")
    consent.uncheck()
    wait_until_closed(cloning)
    consent.check()
    expect(cloning.get_by_role("button", name="Record", exact=True)).to_be_enabled()
    expect(cloning.get_by_label("The sample")).to_be_hidden()
