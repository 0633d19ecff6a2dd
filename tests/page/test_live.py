"""The Live view in Chromium, with the sample conversation as its microphone."""

import base64
import json
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Dialog, Page, WebSocketRoute, expect
from scripts.stack import ROOT
from tests.support.pages import OpenPage, wait_until

pytest_plugins = ("tests.support.page_fixtures",)

CONVERSATION = (ROOT / "samples" / "conversation.flac").read_bytes()
SPEAK_WHEN_TOLD = """() => {
  navigator.mediaDevices.getUserMedia = async () => {
    const context = new AudioContext();
    const microphone = context.createMediaStreamDestination();
    window.speak = async (recording) => {
      const bytes = Uint8Array.from(atob(recording), (byte) => byte.charCodeAt(0));
      const speech = context.createBufferSource();
      speech.buffer = await context.decodeAudioData(bytes.buffer);
      speech.connect(microphone);
      speech.start();
    };
    return microphone.stream;
  };
}"""
"""Silences the microphone until `speak()`. The browser's own starts to speak when it is opened, and
a slow session misses the first words."""
TRANSCRIPTION = "conversation.item.input_audio_transcription"


def answer_sessions(page: Page, *events: dict[str, Any]) -> None:
    """Answers each WebSocket of the page with `events` and closes it."""

    def answer(socket: WebSocketRoute) -> None:
        for event in events:
            socket.send(json.dumps(event))
        socket.close()

    page.route_web_socket("**/v1/realtime?*", answer)


def test_captions(open_page: OpenPage) -> None:
    """Captions appear with their speakers; speakers can be renamed and captions downloaded."""
    page = open_page("#live")
    page.evaluate(SPEAK_WHEN_TOLD)
    page.get_by_role("button", name="Start").press("Enter")
    expect(page.get_by_role("button", name="Stop")).to_be_focused()
    page.evaluate("recording => speak(recording)", base64.b64encode(CONVERSATION).decode())
    wait_until(page, "document.querySelector('meter').value > 0")
    captions = page.locator(".captions > li")
    expect(captions.first).to_contain_text("The person you are calling is not at their desk")
    expect(page.locator(".captions .name", has_text="B")).not_to_have_count(0)
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
    message = "Transcription is disabled on this server (ASR_API=off)."
    expect(page.get_by_role("alert").filter(has_text=message)).to_be_visible()


def test_what_is_not_transcribed(open_page: OpenPage) -> None:
    """Words that were shown are kept, parts without a transcript are listed, and the server's last
    error is shown."""
    page = open_page("#live", light="off")
    loop = {"start": 1.0, "end": 2.0, "reason": "loop"}
    answer_sessions(
        page,
        {"type": "session.created"},
        {"type": "input_audio_buffer.speech_started", "item_id": "a", "audio_start_ms": 0},
        {"type": "input_audio_buffer.speech_stopped", "item_id": "a", "audio_end_ms": 2000},
        {
            "type": f"{TRANSCRIPTION}.completed",
            "item_id": "a",
            "transcript": "First.",
            "missing": [loop],
        },
        {"type": "input_audio_buffer.speech_started", "item_id": "b", "audio_start_ms": 3000},
        {"type": "input_audio_buffer.speech_stopped", "item_id": "b", "audio_end_ms": 4000},
        {
            "type": f"{TRANSCRIPTION}.failed",
            "item_id": "b",
            "error": {"code": "unclear", "message": "The words are not clear enough."},
        },
        {"type": "input_audio_buffer.speech_started", "item_id": "c", "audio_start_ms": 5000},
        {"type": f"{TRANSCRIPTION}.delta", "item_id": "c", "delta": "Second and"},
        {"type": "error", "error": {"message": "The session lasted 60 minutes."}},
    )
    page.get_by_role("button", name="Start").click()
    repeated, unclear = (
        "0:01–0:02 (the model repeated itself)",
        "0:03–0:04 (the words were not clear)",
    )
    expect(page.get_by_text(f"No transcript of {repeated}, {unclear}.")).to_be_visible()
    expect(page.locator(".captions .text")).to_have_text(["First.", "Second and"])
    expect(page.get_by_role("alert").filter(visible=True)).to_have_text(
        "The session lasted 60 minutes."
    )


def test_a_new_session_discards_only_on_confirmation(open_page: OpenPage) -> None:
    """A second Start asks before it discards the captions."""
    page = open_page("#live", light="off")
    answer_sessions(
        page,
        {"type": "session.created"},
        {"type": f"{TRANSCRIPTION}.completed", "item_id": "a", "transcript": "First."},
    )
    start = page.get_by_role("button", name="Start")
    start.click()
    captions = page.locator(".captions > li")
    expect(captions).to_have_count(1)
    expect(start).to_be_visible()
    asked: list[str] = []

    def refuse(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    page.once("dialog", refuse)
    start.click()
    expect(captions).to_have_count(1)
    assert asked == ["Start a new transcript? The current one and its names will be discarded."]
    page.once("dialog", lambda dialog: dialog.accept())
    with page.expect_request("**/v1/realtime/client_secrets"):
        start.click()
    expect(captions).to_have_count(1)


def test_a_browser_with_a_fixed_rate(open_page: OpenPage) -> None:
    """Audio is resampled if, as in Firefox, the microphone does not connect at 24 kHz."""
    page = open_page("#live", light="off")
    page.evaluate(
        """() => {
          const connect = AudioContext.prototype.createMediaStreamSource;
          AudioContext.prototype.createMediaStreamSource = function (stream) {
            if (this.sampleRate === 24000) throw new DOMException("", "NotSupportedError");
            return connect.call(this, stream);
          };
        }"""
    )
    with page.expect_websocket() as opened:
        page.get_by_role("button", name="Start").click()
    blocks: list[bytes] = []
    while not any(map(any, blocks)):  # until it is not silent
        event = json.loads(opened.value.wait_for_event("framesent"))
        assert event["type"] == "input_audio_buffer.append"
        blocks.append(base64.b64decode(event["audio"]))
    assert {len(block) for block in blocks} == {2 * 2400}
