"""The list of recordings in the Transcribe view: remove them, and files that cannot be sent."""

from pathlib import Path

import pytest
from playwright.sync_api import Dialog, Locator, Page, expect
from tests.support.fakes import FakeEngine
from tests.support.pages import OpenPage, choose, rows, tab_to, talk
from tests.support.recordings import gliding_tone, wav

pytest_plugins = ("tests.support.page_fixtures",)

LETTER = {"name": "letter.txt", "mimeType": "text/plain", "buffer": b"Dear Anna," * 99}
"""A file that is not a recording."""


def states(page: Page) -> Locator:
    """The states of the recordings."""
    return page.locator(".job .state")


@pytest.mark.parametrize("removed", ["first.wav", "letter.txt"])
def test_a_recording_is_removed(removed: str, open_page: OpenPage) -> None:
    """One that is done and one that failed are removed with the keyboard. The focus moves to the
    other one, which is opened, and then back to where recordings are chosen. A transcript is
    removed only on confirmation."""
    page = open_page(light="off")
    choose(page, talk(name="first.wav"), LETTER)
    expect(states(page)).to_have_text(["Done", "Failed"])
    page.get_by_role("button", name="letter.txt Failed").click()
    (other,) = {"first.wav", "letter.txt"} - {removed}
    page.on("dialog", lambda dialog: dialog.accept())
    tab_to(page, f"Remove: {removed}", press="Tab" if removed == "letter.txt" else "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".jobs li")).to_have_count(1)
    kept = page.locator(".job")
    expect(kept).to_contain_text(other)
    expect(kept).to_be_focused()
    expect(kept).to_have_attribute("aria-current", "true")
    expect(page.get_by_role("article", name=other)).to_be_visible()
    expect(page.get_by_role("status").filter(has_text=f"Removed: {removed}")).to_have_count(1)
    tab_to(page, f"Remove: {other}")
    page.keyboard.press("Enter")
    expect(page.locator(".jobs li")).to_have_count(0)
    expect(page.get_by_role("button", name="Choose files")).to_be_focused()
    expect(page.get_by_role("article")).to_have_count(0)


def test_a_transcript_is_kept_unless_confirmed(open_page: OpenPage) -> None:
    """Whoever declines keeps the recording and its transcript."""
    page = open_page(light="off")
    choose(page, talk())
    expect(states(page)).to_have_text("Done")
    asked: list[str] = []

    def decline(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    page.once("dialog", decline)
    page.get_by_role("button", name="Remove").click()
    assert asked == ["Discard the transcript of talk.wav with its names and edits?"]
    expect(rows(page)).to_have_count(2)


def test_removing_ends_the_request(open_page: OpenPage, page_engine: FakeEngine) -> None:
    """Removing a recording that is being transcribed closes the engine's connection, too, and
    starts one that was waiting. One that is removed while it waits is never sent."""
    page_engine.stall_after = 3
    page = open_page(light="off")
    choose(page, *(talk(name=f"{name}.wav") for name in ("one", "two", "three", "four")))
    transcribing = "Transcribing…"
    expect(states(page)).to_have_text([transcribing, transcribing, "Waiting…", "Waiting…"])
    page.get_by_role("button", name="Remove: three.wav").click()
    expect(states(page)).to_have_text([transcribing, transcribing, "Waiting…"])
    page.get_by_role("button", name="Remove: one.wav").click()
    assert page_engine.closed.wait(20)
    expect(states(page)).to_have_text([transcribing, transcribing])
    expect(page.locator(".job").last).to_contain_text("four.wav")
    page_engine.release.set()
    expect(states(page)).to_have_text(["Done", "Done"])
    assert len(page_engine.requests) == 3


def test_a_file_that_is_gone(open_page: OpenPage, page_engine: FakeEngine, tmp_path: Path) -> None:
    """A file that was deleted after the user chose it is not reported as a network error."""
    page_engine.stall_after = 3
    page = open_page(light="off")
    gone = tmp_path / "gone.wav"
    gone.write_bytes(wav(gliding_tone(3.0)))
    choose(page, talk(name="one.wav"), talk(name="two.wav"))
    expect(states(page)).to_have_text(["Transcribing…"] * 2)
    choose(page, gone)
    expect(states(page).last).to_have_text("Waiting…")
    gone.unlink()
    page_engine.release.set()
    expect(states(page)).to_have_text(["Done", "Done", "Failed"])
    page.get_by_role("button", name="gone.wav Failed").click()
    expect(page.locator(".editor .note")).to_contain_text("Your browser cannot read this file.")


def test_an_upload_that_is_cut(open_page: OpenPage) -> None:
    """The page says that the server cannot be reached, and uploads the recording on another try."""
    page = open_page(light="off")
    page.route("**/v1/audio/transcriptions", lambda route: route.abort("connectionreset"))
    choose(page, talk())
    expect(states(page)).to_have_text("Failed")
    expect(page.locator(".editor .note")).to_contain_text("The server closed the connection")
    page.unroute("**/v1/audio/transcriptions")
    page.get_by_role("button", name="Try again: talk.wav").click()
    expect(states(page)).to_have_text("Done")
    expect(page.locator(".editor .note")).to_be_hidden()


def test_a_declined_key(open_page: OpenPage) -> None:
    """Whoever declines to enter a key is asked once, not for each recording that waits."""
    page = open_page(light="off", api_keys=("sk-page",))
    choose(page, *(talk(name=f"{number}.wav") for number in range(4)))
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(states(page)).to_have_text(["Failed"] * 4)
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="3.wav Failed").click()
    expect(page.locator(".editor .note")).to_contain_text("No API key provided")


def test_nothing_transcribes(open_page: OpenPage) -> None:
    """The page says so before the user uploads anything."""
    page = open_page(light="off", asr_api="off")
    expect(page.get_by_role("alert").filter(visible=True)).to_have_text(
        "Transcription is disabled on this server (ASR_API=off)."
    )


def test_the_response_of_a_reverse_proxy(open_page: OpenPage) -> None:
    """A page in place of events is not reported as a transcript that ended early."""
    page = open_page(light="off")
    page.route(
        "**/v1/audio/transcriptions",
        lambda route: route.fulfill(content_type="text/html", body="<html>Log in</html>"),
    )
    choose(page, talk())
    expect(states(page)).to_have_text("Failed")
    expect(page.locator(".editor .note")).to_have_text(
        "The response is not from the VibeVoice server. Check the reverse proxy in front of it."
    )
