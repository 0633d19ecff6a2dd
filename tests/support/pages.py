"""Helpers for tests of the page."""

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page
from tests.support.processes import wait_for
from tests.support.recordings import gliding_tone, wav

OpenPage = Callable[..., Page]
"""Opens a view, such as `open_page("#speak")`. Without settings, the proxy has the light
recognizer; with settings, a new proxy with a fake engine is started."""

OTHER_HOST = "speech.example"
"""A name of this machine for the browser. Over http it is no secure context: https://www.w3.org/TR/secure-contexts/"""

HOLD_MICROPHONE = """() => {
  const media = navigator.mediaDevices;
  const open = media.getUserMedia.bind(media);
  window.streams = [];
  const asked = new Promise((resolve) => { window.allow = resolve; });
  media.getUserMedia = async (wanted) => {
    await asked;
    const stream = await open(wanted);
    streams.push(stream);
    return stream;
  };
  window.recorders = [];
  window.recorded = []; // sizes of the parts
  window.MediaRecorder = class extends MediaRecorder {
    constructor(stream) {
      super(stream);
      recorders.push(this);
      this.addEventListener("dataavailable", ({ data }) => recorded.push(data.size));
    }
  };
}"""
"""Counts the microphone's streams and what is recorded from them. `allow()` answers the browser's
question, which waits until then."""

HOLD_PLAYBACK = """() => {
  const play = HTMLMediaElement.prototype.play;
  HTMLMediaElement.prototype.play = function () {
    window.player = this;
    this.playbackRate = 0;
    return play.call(this);
  };
}"""
"""Lets the player play without advancing, until `player.playbackRate = 1`: otherwise, a segment is
the current one only for as long as it takes."""


def wait_until(page: Page, condition: str) -> None:
    """Wait until a JavaScript expression is true. The page's policy forbids what Playwright's
    `wait_for_function` does."""
    wait_for(lambda: page.evaluate(condition) or page.wait_for_timeout(50))


def wait_until_recorded(page: Page, parts: int = 2) -> None:
    """Wait until so many parts of a recording were encoded, one per second, with sound in them."""
    wait_until(page, f"recorded.length >= {parts} && Math.max(...recorded) > 1000")


def talk(seconds: float = 3.0, name: str = "talk.wav") -> dict[str, Any]:
    """A recording for `choose`."""
    return {"name": name, "mimeType": "audio/wav", "buffer": wav(gliding_tone(seconds))}


def choose(page: Page, *files: Any) -> None:
    """Select files in the Transcribe view."""
    page.locator(".drop input[type=file]").set_input_files(list(files))


def say_who_clones(page: Page, **models: bool) -> None:
    """Let the page believe that the server has these models, and whether each can clone voices."""
    listed = [
        {"root": name, "voice_cloning": clones, "voice_uploads": False}
        for name, clones in models.items()
    ]
    page.route("**/v1/audio/models", lambda route: route.fulfill(json={"data": listed}))


def rows(page: Page) -> Locator:
    """The rows of the transcript."""
    return page.locator("ol.segments > li")


def tab_to(page: Page, name: str | re.Pattern[str], press: str = "Tab") -> None:
    """Press Tab until the element with this name has the focus."""
    wanted = re.compile(f"^{re.escape(name)}$") if isinstance(name, str) else name
    for _ in range(40):
        page.keyboard.press(press)
        focused = "document.activeElement.ariaLabel || document.activeElement.textContent"
        if wanted.search(page.evaluate(focused)):
            return
    raise AssertionError(f"{press} does not reach {name}")
