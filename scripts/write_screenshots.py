"""Writes the screenshots of the web page in docs/images/.

    ASR_API=off .venv/bin/vibevoice-proxy &
    .venv/bin/python -m scripts.write_screenshots http://127.0.0.1:8899

Run the proxy with the light recognizer and espeak, and without API keys. Chromium's microphone
plays samples/conversation.flac.
"""

import argparse
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import httpx2
import soundfile
from playwright.sync_api import BrowserContext, Page, ViewportSize, expect, sync_playwright

from scripts.stack import ROOT

IMAGES = ROOT / "docs" / "images"
CONVERSATION = ROOT / "samples" / "conversation.flac"
DESKTOP = ViewportSize(width=1120, height=820)
PHONE = ViewportSize(width=390, height=844)
SCRIPT = (
    "Anna: Good morning, Bob. Did you hear the new voices?\n"
    "Bob: Good morning! Which ones do you mean?\n"
    "Anna: Ours."
)
PATIENCE = 60_000
"""Milliseconds."""
STEP, REAL_STEP = 3000, 250
"""Milliseconds of each step, on the page's clock and in reality. The page reads the metrics once
per step."""
STEPS = 120
CONVERSATIONS = {10: 1, 40: 2, 75: 3, 105: 1}
"""Step → number of requests that begin with it."""
BAD_FILE_AT = 60


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the screenshots in docs/images/.")
    parser.add_argument("url", help="base URL of a running proxy")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    expect.set_options(timeout=PATIENCE)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        heard = Path(folder) / "conversation.wav"
        samples, rate = soundfile.read(CONVERSATION, dtype="int16")
        soundfile.write(heard, samples, rate)
        browser = playwright.chromium.launch(
            executable_path=arguments.chromium,
            args=[
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                f"--use-file-for-fake-audio-capture={heard}",
            ],
        )
        context = browser.new_context(locale="en-US", permissions=["microphone"])
        context.set_default_timeout(PATIENCE)
        url = arguments.url.rstrip("/")
        _transcribe(context, url)
        _live(context, url)
        _speak(context, url)
        _status(context, url)
        browser.close()


def _transcribe(context: BrowserContext, url: str) -> None:
    """A transcript with named speakers, paused in its third segment."""
    page = _open(context, f"{url}/#transcribe")
    page.get_by_role("button", name="Try a sample").click()
    expect(page.locator(".job .state")).to_have_text("Done")
    for label, name in (("A", "Allison"), ("B", "Reader")):
        page.get_by_label(f"Name of speaker {label}").fill(name)
    page.locator(".segment .time").nth(2).click()
    expect(page.locator(".clock")).to_have_text(re.compile("^0:1[0-5] /"))
    page.get_by_role("button", name="Pause").click()
    page.mouse.move(0, 0)  # nothing is hovered over
    page.evaluate("scrollTo(0, 0)")
    _shoot(page, "transcribe-light.png")
    _shoot(page, "transcribe-dark.png", scheme="dark")
    page.set_viewport_size(PHONE)
    page.locator(".jobs").evaluate("list => list.scrollIntoView({ block: 'start' })")
    _shoot(page, "transcribe-phone.png")
    page.close()


def _live(context: BrowserContext, url: str) -> None:
    """Live captions, with words that may still change."""
    page = _open(context, f"{url}/#live")
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".captions > li")).to_have_count(3)
    expect(page.locator(".pending")).not_to_be_empty()
    _shoot(page, "live-light.png")
    page.get_by_role("button", name="Stop").click()
    page.close()


def _speak(context: BrowserContext, url: str) -> None:
    """A script with two voices, and the generated speech."""
    page = _open(context, f"{url}/#speak")
    page.get_by_label("Model").select_option("espeak")
    page.get_by_label("Text or script").fill(SCRIPT)
    page.get_by_role("button", name="Speak", exact=True).click()
    expect(page.locator("[role=status]").last).to_contain_text("by espeak")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    _shoot(page, "speak-dark.png", scheme="dark", whole=True)
    page.close()


def _status(context: BrowserContext, url: str) -> None:
    """Charts of a few minutes. The page's clock runs faster than real time."""
    page = context.new_page()
    page.set_viewport_size(DESKTOP)
    page.clock.install()
    page.goto(f"{url}/#status")
    expect(page.locator(".plots figure")).to_have_count(5)
    recording = CONVERSATION.read_bytes()
    with httpx2.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor() as pool:
        for step in range(STEPS):
            files = [recording] * CONVERSATIONS.get(step, 0)
            if step == BAD_FILE_AT:
                files.append(b"no recording")
            for content in files:
                pool.submit(client.post, "/v1/audio/transcriptions", files={"file": content})
            with page.expect_response("**/metrics"):
                page.clock.run_for(STEP)
            page.wait_for_timeout(REAL_STEP)
    page.clock.resume()
    _shoot(page, "status-light.png", whole=True)
    page.close()


def _open(context: BrowserContext, url: str) -> Page:
    page = context.new_page()
    page.set_viewport_size(DESKTOP)
    page.goto(url)
    return page


def _shoot(
    page: Page, name: str, *, scheme: Literal["light", "dark"] = "light", whole: bool = False
) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    # Wait until the waveform is redrawn in the new colors.
    page.evaluate("new Promise(requestAnimationFrame)")
    page.screenshot(path=IMAGES / name, full_page=whole, animations="disabled")


if __name__ == "__main__":
    main()
