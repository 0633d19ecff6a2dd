"""The Transcribe view in Chromium, with the real light recognizer or a fake engine."""

import json
import random
import re
from pathlib import Path

import httpx2
import numpy as np
import pytest
import soundfile
from playwright.sync_api import BrowserContext, Dialog, Page, expect
from tests.support.fakes import FakeEngine
from tests.support.pages import (
    HOLD_MICROPHONE,
    HOLD_PLAYBACK,
    OpenPage,
    choose,
    rows,
    tab_to,
    talk,
    wait_until,
    wait_until_recorded,
)
from tests.support.processes import wait_for
from tests.support.recordings import encoded, wav

pytest_plugins = ("tests.support.page_fixtures",)

ROOT = Path(__file__).parents[2]
KEY = "sk-page"
LONG_WORD = "".join(chr(97 + byte % 26) for byte in random.Random(1).randbytes(10_000))
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
    "\u202eright to left\u202c and \u2067more",
    LONG_WORD,
    "\u0130" * 9 + " end",  # longer in lower case
)
"""Texts that a model may return."""
HALVES = """canvas => {
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const drawn = [0, 0];
  for (let at = 3; at < data.length; at += 4) {
    if (data[at] > 0) drawn[((at >> 2) % width) * 2 < width ? 0 : 1] += 1;
  }
  return drawn;
}"""
"""Number of drawn pixels in each half of a canvas."""


def model_text(*segments: tuple[float, float, int, str]) -> str:
    """Segments as the engine's model writes them."""
    return json.dumps(
        [
            {"Start": start, "End": end, "Speaker": speaker, "Content": content}
            for start, end, speaker, content in segments
        ],
        ensure_ascii=False,
    )


def sample_text() -> str:
    """The sample's transcript as the engine's model writes it."""
    known = json.loads((ROOT / "samples" / "conversation.json").read_text())["segments"]
    return model_text(
        *((one["start"], one["end"], "AB".index(one["speaker"]), one["text"]) for one in known)
    )


@pytest.fixture
def sample(open_page: OpenPage, page_engine: FakeEngine) -> Page:
    """The page with the sample's transcript, returned by the fake engine."""
    page_engine.split = 5000
    page_engine.text = sample_text()
    return with_sample(open_page(light="off"))


def with_sample(page: Page) -> Page:
    """Transcribe the sample and return the page."""
    page.get_by_role("button", name="Try a sample").click()
    expect(page.locator(".job .state")).to_have_text("Done")
    return page


def reader() -> bytes:
    """The second speaker of the sample alone."""
    samples, rate = soundfile.read(ROOT / "samples" / "conversation.flac", dtype="float32")
    return wav(samples[round(17.3 * rate) : round(22.9 * rate)], rate)


def test_a_sample_is_transcribed(open_page: OpenPage) -> None:
    """The real recognizer's six segments have names, one of them known, colors and regions in the
    waveform."""
    page = open_page()
    page.get_by_text("Options").click()
    page.get_by_role("button", name="Add a known speaker").click()
    page.get_by_label("Name of the known speaker").fill("Jane")
    page.get_by_label("Recording of the known speaker").set_input_files(
        {"name": "jane.wav", "mimeType": "audio/wav", "buffer": reader()}
    )
    sample = with_sample(page)
    expect(rows(sample)).to_have_count(6)
    expect(rows(sample).first).to_contain_text("The person you are calling is not at their desk.")
    expect(rows(sample).nth(1).locator(".name")).to_have_text("Jane")
    colors = sample.locator(".segment .name").evaluate_all(
        "names => names.map(name => getComputedStyle(name).color)"
    )
    assert colors[0] == colors[2] != colors[1] == colors[3]
    expect(sample.locator(".waveform [part~=region]")).to_have_count(6)
    assert sample.locator(".waveform canvas").first.evaluate("canvas => canvas.width") > 100


def test_segments_are_played_and_followed(sample: Page) -> None:
    """Clicking a text plays its segment and marks it; the mark follows the playback."""
    sample.evaluate(HOLD_PLAYBACK)
    rows(sample).nth(4).locator(".text").click()
    current = sample.locator("[aria-current=true].segment")
    expect(current).to_contain_text("is not in service")
    slider = sample.get_by_role("slider")
    expect(slider).to_have_attribute("aria-valuenow", re.compile("^2[34]$"))
    sample.get_by_role("button", name="Pause").click()
    sample.get_by_role("button", name="Play", exact=True).click()
    sample.evaluate("player.playbackRate = 1")
    expect(current).to_contain_text("Dashwood")
    sample.evaluate("player.pause()")
    expect(sample.locator(".waveform [part~=region]")).to_have_count(6)
    sample.locator(".waveform").click(position={"x": 5, "y": 30})
    expect(slider).to_have_attribute("aria-valuenow", "0")


def test_names_edits_and_formats(sample: Page) -> None:
    """Names and corrections appear in every format."""
    name = sample.get_by_label("Name of speaker A")
    name.fill("Anna")
    name.press("Enter")
    expect(sample.locator(".segment .name").first).to_have_text("Anna")
    text = rows(sample).first.locator(".text")
    text.dblclick()
    text.fill("Nobody is at the desk.")
    text.press("Enter")
    expect(text).to_have_text("Nobody is at the desk.")
    contents = {}
    for value in ("dialog", "text", "srt", "vtt", "json", "verbose_json", "diarized_json"):
        sample.get_by_label("Format", exact=True).select_option(value)
        with sample.expect_download() as download:
            sample.get_by_role("button", name="Download").click()
        contents[value] = Path(download.value.path()).read_text()
        assert download.value.suggested_filename.startswith("sample.")
        assert "Nobody is at the desk." in contents[value].replace("\n", " ")
    for value in ("dialog", "srt", "vtt", "verbose_json", "diarized_json"):
        assert "Anna" in contents[value]
    assert re.search(r"00:00:0\d,\d{3} --> .*\nAnna: Nobody is at the desk\.", contents["srt"])
    assert [one["speaker"] for one in json.loads(contents["diarized_json"])["segments"]] == [
        *("Anna", "B") * 3
    ]
    sample.get_by_role("button", name="Copy").click()
    expect(sample.get_by_text("Copied.")).to_be_visible()
    assert sample.evaluate("navigator.clipboard.readText()") == contents["diarized_json"]


def test_speakers_are_merged(sample: Page) -> None:
    """Merging removes one of two speakers."""
    sample.get_by_label("Merge B into another speaker").select_option("A")
    expect(sample.locator(".chip")).to_have_count(1)
    expect(sample.locator(".segment .name:not(:empty)")).to_have_text(["A"])


def test_search(sample: Page) -> None:
    """Results are counted, and Enter moves to the next."""
    search = sample.get_by_label("Search the transcript")
    search.fill("NUMBER")
    expect(sample.locator(".hits")).to_have_text("1 of 1")
    search.fill("more")
    expect(sample.locator(".hits")).to_have_text("1 of 1")
    search.fill("he")
    expect(sample.locator(".hits")).to_have_text(re.compile(r"^1 of [3-6]$"))
    search.press("Enter")
    expect(sample.locator(".hits")).to_have_text(re.compile(r"^2 of"))
    assert sample.evaluate("CSS.highlights.get('found').size") > 3
    search.fill("nobody said this")
    expect(sample.locator(".hits")).to_have_text("0 of 0")


def test_the_microphone_is_recorded(open_page: OpenPage) -> None:
    """A recording from the microphone is transcribed and has a duration."""
    page = open_page()
    page.evaluate(HOLD_MICROPHONE)
    page.evaluate("allow()")
    page.get_by_role("button", name="Record", exact=True).click()
    wait_until_recorded(page, 6)
    page.get_by_role("button", name="Stop recording").click()
    expect(page.locator(".job .state")).to_have_text("Done")
    expect(rows(page).first).to_contain_text("The person you are calling")
    expect(page.locator(".clock")).to_have_text(re.compile(r"^0:00 / (?!0:00)\d+:\d\d$"))


def test_an_unplugged_microphone(open_page: OpenPage) -> None:
    """The recording made so far is kept, although the browser has already stopped recording."""
    page = open_page(light="off")
    page.evaluate(HOLD_MICROPHONE)
    page.get_by_role("button", name="Record", exact=True).dblclick()
    page.evaluate("allow()")
    wait_until_recorded(page)
    page.evaluate("streams[0].getTracks().forEach((track) => track.stop())")
    wait_until(page, "recorders[0].state === 'inactive'")
    page.get_by_role("button", name="Stop recording").click()
    expect(page.locator(".job .state")).to_have_text("Done")


def test_keyboard_alone(open_page: OpenPage) -> None:
    """Every step of the view works without a mouse."""
    page = open_page()
    page.evaluate(HOLD_PLAYBACK)
    page.on("filechooser", lambda _: None)  # intercepted from now on, not only after the key press
    press = page.keyboard.press
    tab_to(page, "Choose files")
    with page.expect_file_chooser() as chooser:
        press("Enter")
    chooser.value.set_files([])
    tab_to(page, "Try a sample")
    press("Enter")
    expect(page.locator(".job .state")).to_have_text("Done")
    tab_to(page, "Position")
    press("ArrowRight")
    press("ArrowRight")
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuenow", "10")
    tab_to(page, "Name of speaker A")
    page.keyboard.type("Anna")
    press("Enter")
    tab_to(page, "Search the transcript")
    page.keyboard.type("number")
    tab_to(page, re.compile("^Play from"))
    press("Home")
    press("ArrowDown")
    press("ArrowUp")
    expect(page.locator(".segment .time").first).to_be_focused()
    press("e")
    press("Control+a")
    page.keyboard.type("Corrected.")
    press("Enter")
    expect(rows(page).first.locator(".text")).to_have_text("Corrected.")
    expect(page.locator(".segment .time").first).to_be_focused()
    press("End")
    press("Enter")
    expect(page.locator(".segment[aria-current]")).to_contain_text("Dashwood")
    press(" ")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    tab_to(page, "Download", press="Shift+Tab")
    with page.expect_download() as download:
        press("Enter")
    assert Path(download.value.path()).read_text().startswith("Anna: Corrected.\n")


def test_segments_come_while_the_engine_works(open_page: OpenPage, page_engine: FakeEngine) -> None:
    """Segments appear while the engine is still working, and canceling stops it."""
    page_engine.text = model_text((0, 1, 0, "First."), (1, 2, 1, "Second."), (2, 3, 0, "Third."))
    page_engine.stall_after = 18
    page = open_page(light="off", tts_model_type="off")
    choose(page, talk())
    expect(rows(page).first).to_contain_text("First.")
    expect(page.locator(".job .state")).to_have_text("Transcribing…")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".job .state")).to_have_text("Canceled")
    wait_for(page_engine.closed.is_set)
    page_engine.stall_after = None
    page.once("dialog", lambda dialog: dialog.accept())  # discards the first segments
    page.get_by_role("button", name="Try again").click()
    expect(rows(page)).to_have_count(3)


def test_a_merge_holds_for_later_segments(open_page: OpenPage, page_engine: FakeEngine) -> None:
    """Segments that arrive after a merge belong to the merged speaker."""
    page_engine.text = model_text((0, 1, 0, "First."), (1, 2, 1, "Second."), (2, 3, 1, "Third."))
    page_engine.gate_after = 20
    page = open_page(light="off", tts_model_type="off")
    choose(page, talk())
    page.get_by_label("Merge B into another speaker").select_option("A")
    expect(rows(page)).to_have_count(2)
    page_engine.gate.set()
    expect(page.locator(".job .state")).to_have_text("Done")
    expect(rows(page)).to_have_count(3)
    expect(page.locator(".chip")).to_have_count(1)
    expect(page.locator(".segment .name:not(:empty)")).to_have_text(["A"])


def test_an_error_in_the_stream(open_page: OpenPage, page_engine: FakeEngine) -> None:
    """The page shows the server's message and keeps the segments received before. They are
    discarded only after confirmation."""
    page_engine.text = model_text((0, 1, 0, "First."), (1, 2, 1, "Second."), (2, 3, 0, "Third."))
    page_engine.fail_after = 20
    page = open_page(light="off", tts_model_type="off")
    choose(page, talk())
    expect(page.locator(".job .state")).to_have_text("Failed")
    expect(page.locator(".editor .note")).to_contain_text("engine")
    expect(page.locator(".editor .note")).not_to_contain_text("ended the response early")
    expect(rows(page)).to_have_count(2)
    asked: list[str] = []

    def refuse(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    page.once("dialog", refuse)
    page.get_by_role("button", name="Try again").click()
    expect(rows(page)).to_have_count(2)
    assert asked == ["Discard the transcript of talk.wav with its names and edits?"]


def test_many_files_are_sent_two_at_a_time(open_page: OpenPage, page_engine: FakeEngine) -> None:
    """Several files, including a video, are uploaded two at a time."""
    page_engine.stall_after = 0
    page = open_page(light="off")
    video = {
        "name": "film.mp4",
        "mimeType": "video/mp4",
        "buffer": encoded("mp4", "aac", video=True),
    }
    choose(page, *(talk(name=f"talk {number}.wav") for number in range(4)), video)
    states = page.locator(".job .state")
    expect(states).to_have_text(["Transcribing…"] * 2 + ["Waiting…"] * 3)
    wait_for(lambda: page_engine.at_once == 2)
    page_engine.release.set()
    expect(states).to_have_text(["Done"] * 5)
    assert page_engine.most_at_once == 2
    page.get_by_role("button", name="film.mp4 Done").click()
    expect(rows(page).first).to_contain_text("Good morning.")
    expect(page.locator(".clock")).to_have_text(re.compile("/ 0:0[23]$"))


def test_options_are_sent(open_page: OpenPage, page_engine: FakeEngine) -> None:
    """Hotwords reach the model, and subtitles keep the limits."""
    page_engine.text = model_text((0, 3, 0, "One two three four five six seven eight nine ten."))
    page = open_page(light="off")
    page.get_by_text("Options").click()
    page.get_by_label("Words to expect").fill("Quokka, Wombat")
    page.get_by_label("Characters in a line").fill("20")
    page.get_by_label("Model").select_option("vibevoice")
    choose(page, talk())
    expect(page.locator(".job .state")).to_have_text("Done")
    assert "Quokka, Wombat" in page_engine.requests[-1]["messages"][1]["content"][1]["text"]
    page.get_by_label("Format", exact=True).select_option("srt")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert max(len(line) for line in lines if "-->" not in line) <= 20


def test_incomplete_known_speakers(open_page: OpenPage, page_engine: FakeEngine) -> None:
    """A known speaker without a name or a recording is not omitted silently, and no more can be
    added than the API allows."""
    page = open_page(light="off")
    page.get_by_text("Options").click()
    add = page.get_by_role("button", name="Add a known speaker")
    for _ in range(4):
        add.click()
    expect(add).to_be_disabled()
    page.get_by_role("button", name="Remove").last.click()
    expect(add).to_be_enabled()
    name = page.get_by_label("Name of the known speaker").first
    name.fill("Jane")
    choose(page, talk())
    note = page.locator(".editor .note")
    advice = "Add it in Options, or remove the speaker there."
    expect(note).to_have_text(f"Known speaker Jane has no recording. {advice}")
    name.fill("")
    page.get_by_label("Recording of the known speaker").first.set_input_files(
        {"name": "jane.wav", "mimeType": "audio/wav", "buffer": reader()}
    )
    again = page.get_by_role("button", name="Try again")
    again.click()
    expect(note).to_have_text(f"The known speaker in jane.wav has no name. {advice}")
    assert page_engine.requests == []
    name.fill("Jane")
    again.click()
    expect(page.locator(".job .state")).to_have_text("Done")


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (["light", "whisper-1", "vibevoice"], re.compile("^By default, “light” and .* English")),
        (["vibevoice", "whisper-1"], ""),
    ],
)
def test_models_are_explained(
    names: list[str], hint: str | re.Pattern[str], open_page: OpenPage
) -> None:
    """The options say which models transcribe what, if there are different ones."""
    page = open_page(light="off")
    listed = {"data": [{"id": name} for name in names]}
    page.route("**/v1/models", lambda route: route.fulfill(json=listed))
    page.reload()
    page.get_by_text("Options").click()
    model = page.get_by_label("Model")
    expect(model.locator("option")).to_have_text(["Default", *names])
    expect(model).to_have_accessible_description(hint)


def test_enrolled_speakers(open_page: OpenPage, page_engine: FakeEngine, tmp_path: Path) -> None:
    """Speakers that are enrolled on the server are recognized if the user wants it."""
    page_engine.split = 5000
    page_engine.text = sample_text()
    page = open_page(light="off", speaker_enrollment=True, speaker_dir=str(tmp_path))
    files = {"audio_sample": reader()}
    form = {"name": "Jane", "consent": "test"}
    enrolled = httpx2.post(f"{page.url}v1/audio/speakers", data=form, files=files, timeout=60)
    assert enrolled.status_code == 200, enrolled.text
    page.get_by_text("Options").click()
    page.get_by_label("Recognize everyone enrolled on this server (1).").check()
    expect(page.get_by_role("button", name="Add a known speaker")).to_be_hidden()
    expect(rows(with_sample(page)).nth(1).locator(".name")).to_have_text("Jane")


def test_an_hour(open_page: OpenPage, page_engine: FakeEngine, tmp_path: Path) -> None:
    """All segments of an hour can be found and played, and the waveform covers it."""
    page_engine.split = 5000
    page_engine.text = model_text(
        *((5.0 * at, 5.0 * at + 4, at % 3, f"This is sentence {at + 1}.") for at in range(720))
    )
    loudness = np.repeat([0, 3000], 1800 * 8000).astype(np.int16)
    samples = loudness * np.resize(np.array([1, -1], np.int16), loudness.shape)
    recording = tmp_path / "hour.wav"
    soundfile.write(recording, samples, 8000)
    page = open_page(light="off")
    page.evaluate(HOLD_PLAYBACK)
    choose(page, recording)
    expect(page.locator(".job .state")).to_have_text("Done")
    expect(rows(page)).to_have_count(720)
    page.get_by_label("Search the transcript").fill("sentence 700.")
    expect(page.locator(".hits")).to_have_text("1 of 1")
    rows(page).nth(699).locator(".text").click()
    expect(page.locator(".segment[aria-current]")).to_contain_text("sentence 700.")
    expect(rows(page).nth(699)).to_be_in_viewport()
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuetext", re.compile("^58:1"))
    expect(page.locator(".waveform canvas")).not_to_have_count(0)
    quiet, loud = page.locator(".waveform canvas").first.evaluate(HALVES)
    assert loud > 5 * quiet


def test_what_a_model_says_is_shown_as_text(open_page: OpenPage, page_engine: FakeEngine) -> None:
    """Markup is not parsed, direction marks do not leak, and long words wrap."""
    page_engine.text = model_text(
        *((number, number + 1, number, text) for number, text in enumerate(HOSTILE))
    )
    page_engine.split = 5000
    page = open_page(light="off")
    choose(page, talk(name="<img src=x onerror=alert(1)>.wav"))
    expect(page.locator(".job .state")).to_have_text("Done")
    for number, text in enumerate(HOSTILE):
        assert rows(page).nth(number).locator(".text").text_content() == text
    page.get_by_label("Search the transcript").fill(" end")
    expect(page.locator(".hits")).to_have_text("1 of 1")
    page.get_by_label("Name of speaker A").fill("<b>Anna</b>")
    expect(rows(page).first.locator(".name")).to_have_text("<b>Anna</b>")
    assert page.title() == "Transcribe · VibeVoice"
    assert page.locator("main img, main script, main b").count() == 0
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.evaluate("innerWidth")
    isolated = rows(page).nth(1).locator(".text").evaluate("e => getComputedStyle(e).unicodeBidi")
    assert isolated in ("isolate", "plaintext")


def test_an_unknown_view(open_page: OpenPage) -> None:
    """An address with an unknown fragment opens Transcribe, even a property of objects."""
    page = open_page("#constructor", light="off")
    expect(page.get_by_role("heading", level=1)).to_have_text("Transcribe")


def test_no_engine(open_page: OpenPage) -> None:
    """The page shows the API's message and offers another try."""
    page = open_page(light="off", asr_base_url="http://127.0.0.1:9")
    choose(page, talk())
    expect(page.locator(".job .state")).to_have_text("Failed")
    expect(page.locator(".editor .note")).to_contain_text("engine")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_a_file_that_is_no_recording(open_page: OpenPage) -> None:
    """The page shows the API's message."""
    page = open_page(light="off")
    choose(page, {"name": "letter.txt", "mimeType": "text/plain", "buffer": b"Dear Anna," * 99})
    expect(page.locator(".job .state")).to_have_text("Failed")
    expect(page.locator(".editor .note")).to_contain_text("could not be decoded as audio")
    expect(page.get_by_text("Your browser cannot play this file.", exact=True)).to_be_visible()


def test_an_unclear_recording_is_not_silent(open_page: OpenPage) -> None:
    """The page says what is missing and why, and does not claim that there was no speech."""
    done = {
        "type": "transcript.text.done",
        "text": "",
        "missing": [{"start": 0, "end": 11, "reason": "unclear"}],
    }
    page = open_page(light="off")
    page.route(
        "**/v1/audio/transcriptions",
        lambda route: route.fulfill(
            content_type="text/event-stream", body=f"data: {json.dumps(done)}\n\n"
        ),
    )
    page.get_by_role("button", name="Try a sample").click()
    expect(page.locator(".editor .note")).to_have_text(
        "No transcript of 0:00–0:11 (the words were not clear). By default, the light recognizer "
        "only supports English."
    )
    expect(page.locator(".job .state")).to_have_text("Incomplete")
    expect(page.get_by_text("No speech was found")).to_be_hidden()


def test_a_full_queue(open_page: OpenPage, page_engine: FakeEngine) -> None:
    """A large upload that is refused with 429 shows the API's message and can be tried again."""
    page_engine.stall_after = 3
    page = open_page(light="off", max_concurrency=1, max_queue=0)
    choose(page, talk())
    states = page.locator(".job .state")
    expect(states).to_have_text(["Transcribing…"])
    choose(page, talk(120.0, "large.wav"))
    expect(states).to_have_text(["Transcribing…", "Failed"])
    expect(page.locator(".editor .note")).to_contain_text("busy")
    page_engine.release.set()
    expect(states).to_have_text(["Done", "Failed"])
    page.get_by_role("button", name="Try again").click()
    expect(states).to_have_text(["Done", "Done"])


def test_keys(open_page: OpenPage, context: BrowserContext) -> None:
    """The page asks for a key when the API needs one, and keeps it only in the tab."""
    page = open_page(light="off", api_keys=(KEY,))
    choose(page, talk())
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("No API key provided")
    dialog.get_by_label("API key").fill("wrong")
    dialog.get_by_role("button", name="Use this key").click()
    expect(dialog).to_contain_text("Incorrect API key provided.")
    dialog.get_by_label("API key").fill(KEY)
    dialog.get_by_label("API key").press("Enter")
    expect(page.locator(".job .state")).to_have_text("Done")
    page.on("dialog", lambda dialog: dialog.accept())  # transcripts are lost with the page
    page.reload()
    choose(page, talk())
    expect(page.locator(".job .state")).to_have_text("Done")
    other = context.new_page()
    other.goto(page.url)
    choose(other, talk())
    expect(other.get_by_role("dialog")).to_be_visible()
    other.get_by_role("button", name="Cancel").last.click()
    expect(other.locator(".editor .note")).to_contain_text("No API key provided")
    other.close()
    page.get_by_role("button", name="Forget the key").click()
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0
    assert context.cookies() == []
