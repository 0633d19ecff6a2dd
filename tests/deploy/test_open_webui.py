"""The real Open WebUI with the real engine, through its API and its page.

`make test-open-webui` installs it and runs this; elsewhere the tests are skipped. Screenshots are
stored in runs/open-webui/.
"""

import json
import re
from collections.abc import Iterator

import httpx2
import jiwer
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from scripts.stack import ROOT
from tests.support.fakes import serve
from tests.support.open_webui import (
    ENVIRONMENT,
    PATIENCE,
    chromium,
    documented_settings,
    echo_model,
    signed_in,
    signed_up,
    start_open_webui,
    transcoded,
)
from tests.support.processes import wait_until_it_speaks

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings

KEY = "sk-tests"
RECORDING = ROOT / "samples" / "two-speakers.wav"
SEGMENTS = json.loads(RECORDING.with_suffix(".json").read_text())["segments"]
WORDS = " ".join(segment["text"] for segment in SEGMENTS)
SECONDS = 6
"""Slightly longer than the recording."""
MISHEARD = 0.5
"""Allowed share of wrong words. The small checkpoint was not trained on audio with a browser's
noise suppression: two of nine words were wrong in a run; nine of ten random digits would be."""
PICTURES = ROOT / "runs" / "open-webui"

pytestmark = [
    pytest.mark.openwebui,
    pytest.mark.skipif(
        not (ENVIRONMENT / "bin" / "open-webui").exists(),
        reason="Open WebUI is not installed: scripts/setup_open_webui.sh",
    ),
]


@pytest.fixture(scope="module")
def proxy_url(engine_url: str) -> Iterator[str]:
    """A proxy that requires a key and speaks, in front of the real engine."""
    settings = Settings.model_validate(
        {"asr_base_url": engine_url, "tts_model_type": "espeak", "api_keys": (KEY,)}
    )
    with serve(create_app(settings)) as url:
        wait_until_it_speaks(url, "espeak")
        yield url


@pytest.fixture(scope="module")
def open_webui_url(proxy_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Open WebUI set up as documented, with a chat model that echoes its input."""
    with serve(echo_model()) as chat_url:
        chat = {"OPENAI_API_BASE_URL": f"{chat_url}/v1", "OPENAI_API_KEY": "none"}
        settings = documented_settings(proxy_url, KEY) | chat
        with start_open_webui(tmp_path_factory.mktemp("open-webui"), settings) as url:
            yield url


@pytest.fixture(scope="module")
def api(open_webui_url: str) -> Iterator[httpx2.Client]:
    """Open WebUI's API for its first user, who has just signed up."""
    with httpx2.Client(base_url=f"{open_webui_url}/api/v1", timeout=120) as client:
        client.headers["authorization"] = f"Bearer {signed_up(open_webui_url)}"
        yield client


@pytest.mark.parametrize(
    ("name", "content_type", "container", "codec"),
    [
        pytest.param("recording.wav", "audio/wav", "webm", "libopus", id="call-of-chromium"),
        pytest.param("recording.wav", "audio/wav", "mp4", "aac", id="call-of-safari"),
        pytest.param("recording.webm", "audio/webm", "webm", "libopus", id="microphone"),
        pytest.param("talk.mp3", "audio/mpeg", "mp3", "libmp3lame", id="mp3"),
        pytest.param("talk.m4a", "audio/mp4", "ipod", "aac", id="m4a"),
        pytest.param("talk.wav", "audio/wav", "wav", "pcm_s16le", id="wav"),
        pytest.param("talk.mp4", "video/mp4", "mp4", "aac", id="video"),
    ],
)
def test_uploads_are_transcribed(
    api: httpx2.Client, name: str, content_type: str, container: str, codec: str
) -> None:
    """Recordings from browsers and uploaded files are transcribed."""
    upload = (name, transcoded(RECORDING, container, codec), content_type)
    answer = api.post("/audio/transcriptions", files={"file": upload}, data={"language": "en"})
    assert answer.status_code == 200, answer.text
    assert jiwer.wer(WORDS, answer.json()["text"]) <= 0.2


def test_a_recording_in_a_chat_is_transcribed(api: httpx2.Client) -> None:
    """A recording attached to a chat becomes a document with its transcript."""
    upload = (RECORDING.name, RECORDING.read_bytes(), "audio/wav")
    answer = api.post("/files/", files={"file": upload})
    with api.stream("GET", f"/files/{answer.json()['id']}/process/status?stream=true") as events:
        assert events.read().endswith(b'{"status":"completed"}\n\n')
    file = api.get(f"/files/{answer.json()['id']}").json()
    assert file["data"]["content"] == WORDS


def test_the_reason_of_a_failure_is_shown(api: httpx2.Client) -> None:
    """The user sees the proxy's own message."""
    upload = ("talk.wav", b"no recording at all", "audio/wav")
    answer = api.post("/audio/transcriptions", files={"file": upload})
    assert answer.status_code == 500
    assert "could not be decoded as audio" in answer.json()["detail"]


def test_voices_and_models_are_listed(api: httpx2.Client, proxy_url: str) -> None:
    """Open WebUI lists the proxy's voices and models, although it requests them without its key."""
    for what in ("voices", "models"):
        served = httpx2.get(f"{proxy_url}/v1/audio/{what}").json()[what]
        listed = api.get(f"/audio/{what}").json()[what]
        assert {item["id"] for item in listed} == {item["id"] for item in served}


def test_text_is_read_aloud(api: httpx2.Client) -> None:
    """Speech is mp3, and its transcript matches the text."""
    said = "seven two nine four"
    speech = api.post("/audio/speech", json={"input": said, "voice": "alloy"})
    assert speech.headers["content-type"] == "audio/mpeg"
    upload = ("speech.mp3", speech.content, "audio/mpeg")
    heard = api.post("/audio/transcriptions", files={"file": upload}).json()["text"]
    assert heard == said


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium whose microphone plays the recording once each time it is opened."""
    with chromium(RECORDING) as browser:
        yield browser


@pytest.fixture(scope="module")
def user(api: httpx2.Client, browser: Browser, open_webui_url: str) -> BrowserContext:
    """A browser whose user has signed in."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    return signed_in(browser, open_webui_url)


@pytest.fixture
def page(user: BrowserContext) -> Iterator[Page]:
    """Open a new chat."""
    page = user.new_page()
    page.goto("/")
    yield page
    page.close()


def wait_for_sound(page: Page) -> None:
    """Wait until the page plays audio."""
    page.wait_for_function("[...document.querySelectorAll('audio')].some(a => a.currentTime > 0.2)")


def test_dictation_and_read_aloud(page: Page) -> None:
    """Dictated words appear in the input; the answer is read aloud."""
    page.get_by_role("button", name="Voice Input").click()
    confirm = page.get_by_role("button", name="Confirm recording")
    confirm.wait_for()
    page.wait_for_timeout(1000 * SECONDS)
    page.screenshot(path=PICTURES / "recording.png")
    confirm.click()
    typed = page.locator("#chat-input")
    expect(typed).to_have_text(re.compile(r"\w"), timeout=PATIENCE)
    assert jiwer.wer(WORDS, typed.inner_text()) <= MISHEARD
    page.screenshot(path=PICTURES / "dictation.png")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Read Aloud").click()
    wait_for_sound(page)
    page.screenshot(path=PICTURES / "read-aloud.png")


def test_call(page: Page) -> None:
    """In a call, the pause after the words sends them, and the answer is spoken."""
    page.get_by_role("button", name="Voice mode").click()
    wait_for_sound(page)
    page.screenshot(path=PICTURES / "call.png")
    said = page.locator(".user-message .markdown-prose").inner_text().strip()
    assert jiwer.wer(WORDS, said) <= MISHEARD
    expect(page.locator("#response-content-container")).to_have_text(said, timeout=PATIENCE)


def test_settings_page_offers_the_voices(page: Page) -> None:
    """The admin settings page suggests the available voices and models."""
    page.goto("/admin/settings/audio")
    page.locator("#tts-voice-input").fill("en-us-man")
    page.get_by_role("option", name="espeak-en-us-man", exact=True).wait_for()
    page.screenshot(path=PICTURES / "settings.png")
