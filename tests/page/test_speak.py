"""The Speak view in Chromium, with real voices."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Request, expect
from tests.support.fakes import serve
from tests.support.pages import OpenPage, say_who_clones, wait_until
from tests.support.processes import wait_until_it_speaks
from tests.support.speaking import make_models, recording

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings

pytest_plugins = ("tests.support.page_fixtures",)

SCRIPT = "Anna: Good morning, Bob.\nBob: Good morning! How are you?\nAnna: Fine."


CANNOT = "cannot clone voices"


def sent_body(request: Request) -> dict[str, Any]:
    """The JSON body of a request."""
    return json.loads(request.post_data or "")


def test_a_text_is_spoken(open_page: OpenPage, light_url: str) -> None:
    """Speech is generated and downloaded in two formats; the light recognizer understands it."""
    page = open_page("#speak")
    page.get_by_label("Text or script").fill("Please check the number and try again.")
    page.get_by_role("button", name="Speak", exact=True).click()
    expect(page.locator("[role=status]").last).to_contain_text("by hibari; first sound after")
    wait_until(page, "document.querySelector('.result audio').duration > 1.5")
    for form, head in (("wav", b"RIFF"), ("mp3", b"ID3")):
        page.get_by_label("Format").select_option(form)
        with page.expect_download() as download:
            page.get_by_role("button", name="Download").click()
        content = Path(download.value.path()).read_bytes()
        assert content.startswith(head)
        heard = httpx2.post(
            f"{light_url}/v1/audio/transcriptions", files={"file": content}, timeout=60
        )
        assert "check the number" in heard.json()["text"]


def test_a_script_has_a_voice_for_each_speaker(open_page: OpenPage) -> None:
    """Each speaker of a script gets a voice menu, and the request has their choices."""
    page = open_page("#speak")
    page.get_by_label("Model").select_option("espeak")
    expect(page.get_by_label("Voice", exact=True)).to_have_value("espeak-en-us-boy")
    page.get_by_label("Text or script").fill(SCRIPT)
    page.get_by_label("Anna").select_option("espeak-en-us-woman")
    page.get_by_label("Bob").select_option("espeak-en-us-man")
    with page.expect_request("**/v1/audio/speech") as sent:
        page.get_by_role("button", name="Speak", exact=True).click()
    assert sent_body(sent.value)["speakers"] == {
        "Anna": "espeak-en-us-woman",
        "Bob": "espeak-en-us-man",
    }
    expect(page.locator("[role=status]").last).to_contain_text("by espeak")
    page.get_by_label("Text or script").fill("Note: this is no script.")
    expect(page.get_by_label("Bob")).to_have_count(0)


def test_a_voice_is_tried(open_page: OpenPage) -> None:
    """Preview speaks a sentence with the chosen voice."""
    page = open_page("#speak")
    page.get_by_label("Model").select_option("espeak")
    page.get_by_label("Voice", exact=True).select_option("espeak-fr-woman")
    with page.expect_request("**/v1/audio/speech") as sent:
        page.get_by_role("button", name="Preview the voice").click()
    assert sent_body(sent.value)["voice"] == "espeak-fr-woman"
    expect(page.locator("[role=status]").last).to_contain_text("by espeak")


def test_errors_are_the_servers_words(open_page: OpenPage) -> None:
    """The page shows the API's message and stops."""
    page = open_page("#speak")
    page.get_by_label("Text or script").fill("  ")
    page.get_by_role("button", name="Speak", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="The input is empty.")).to_be_visible()
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()


def test_stop_ends_the_request(open_page: OpenPage) -> None:
    """The request is canceled while the page waits for the first sound, and nothing is kept."""
    page = open_page("#speak")
    page.route("**/v1/audio/speech", lambda _: None)  # never answered
    with page.expect_request("**/v1/audio/speech"):
        page.get_by_role("button", name="Speak", exact=True).click()
    with page.expect_event("requestfailed"):
        page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(page.get_by_role("button", name="Download")).to_be_hidden()


@pytest.fixture(scope="module")
def cloning_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A proxy with a tiny 1.5B model that stores voices."""
    models = make_models(tmp_path_factory.mktemp("models"))
    settings = Settings(
        asr_api="off",
        light="off",
        tts_model_type="1.5b",
        model_dir=str(models),
        voice_uploads=True,
        voice_dir=str(tmp_path_factory.mktemp("voices")),
    )
    with serve(create_app(settings)) as url:
        wait_until_it_speaks(url, "vibevoice-1.5b")
        yield url


def test_a_voice_is_cloned_with_consent(open_page: OpenPage, cloning_url: str) -> None:
    """Cloning is disabled until both statements are accepted. The sample is then sent with the
    request, or stored as a voice and deleted."""
    page = open_page("#speak", url=cloning_url)
    page.get_by_text("Clone a voice").click()
    sample = page.get_by_label("Recording", exact=True)
    expect(sample).to_be_disabled()
    expect(page.get_by_role("button", name="Record", exact=True)).to_be_disabled()
    page.get_by_label("This person has given").check()
    expect(sample).to_be_disabled()
    page.get_by_label("I will tell listeners").check()
    sample.set_input_files({"name": "anna.wav", "mimeType": "audio/wav", "buffer": recording(8.0)})
    page.get_by_label("Text or script").fill("One two.")
    with page.expect_request("**/v1/audio/speech") as sent:
        page.get_by_role("button", name="Speak", exact=True).click()
    assert sent_body(sent.value)["ref_audio"].startswith("data:audio/wav;base64,")
    expect(page.locator("[role=status]").last).to_contain_text("by vibevoice-1.5b")
    page.get_by_label("Name of the voice").fill("Anna")
    page.get_by_label("Reference to the consent").fill("cons_1")
    page.get_by_role("button", name="Store on the server").click()
    expect(page.get_by_text("Stored as Anna.")).to_be_visible()
    page.get_by_label("Voice", exact=True).select_option("Anna")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete this voice").click()
    expect(page.locator("option[value=Anna]")).to_have_count(0)


def test_cloning_is_offered_only_where_it_works(open_page: OpenPage) -> None:
    """No model of this server can clone voices, so the page does not offer it."""
    page = open_page("#speak")
    expect(page.get_by_label("Model")).to_have_value("hibari")
    expect(page.get_by_text("Clone a voice")).to_be_hidden()


def test_cloning_with_another_model(open_page: OpenPage) -> None:
    """If only one of two models can clone, the page says so while the other one is chosen. A
    sample that the server rejects gets the server's message. Here the list of models is wrong."""
    page = open_page()
    say_who_clones(page, espeak=False, hibari=True)
    page.get_by_role("navigation").get_by_role("link", name="Speak").click()
    page.get_by_text("Clone a voice").click()
    consent = page.get_by_label("This person has given")
    expect(consent).to_be_disabled()
    expect(page.get_by_text(f"espeak {CANNOT}. Choose hibari.")).to_be_visible()
    page.get_by_label("Model").select_option("hibari")
    consent.check()
    page.get_by_label("I will tell listeners").check()
    expect(page.get_by_role("button", name="Store on the server")).to_be_hidden()
    page.get_by_label("Recording", exact=True).set_input_files(
        {"name": "anna.wav", "mimeType": "audio/wav", "buffer": recording(8.0)}
    )
    expect(page.get_by_text("The next speech uses the voice in anna.wav.")).to_be_visible()
    page.get_by_role("button", name="Speak", exact=True).click()
    message = f"The model hibari {CANNOT}; vibevoice-1.5b can."
    expect(page.get_by_role("alert").filter(visible=True)).to_have_text(message)
    page.get_by_label("Model").select_option("espeak")
    with page.expect_request("**/v1/audio/speech") as sent:
        page.get_by_role("button", name="Speak", exact=True).click()
    assert "ref_audio" not in sent_body(sent.value)


def test_nothing_speaks(open_page: OpenPage) -> None:
    """The page says so before the user presses Speak."""
    page = open_page("#speak", light="off", tts_model_type="off")
    expect(page.get_by_role("alert").filter(visible=True)).to_have_text(
        "Speech synthesis is disabled on this server (TTS_MODEL_TYPE=off)."
    )
    expect(page.get_by_role("button", name="Speak", exact=True)).to_be_disabled()
