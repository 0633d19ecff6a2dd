"""A voice call in the real Open WebUI, in *Realtime* mode, through its page in Chromium: three
turns of real voices, the last of which interrupts an answer.

`make test-open-webui` installs it and runs this. It stores a screenshot of the call and its events,
without audio, in runs/open-webui/.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, WebSocket
from scripts.stack import ROOT
from tests.realtime.conftest import light_proxy
from tests.support.fakes import serve
from tests.support.open_webui import (
    ENVIRONMENT,
    PATIENCE,
    chat_model,
    chromium,
    documented_settings,
    signed_in,
    signed_up,
    start_open_webui,
)
from tests.support.processes import wait_until_it_speaks
from tests.support.real_voices import RATE, leveled, prompts, trimmed
from tests.support.wording import errors, words

from vibevoice_light import ModelFilesMissing, find_moonshine

KEY = "sk-tests"
SAID = ("conf-waitforleader", "vm-savefolder", "feature-not-avail-line")
"""Telephone prompts, one per turn."""
BEFORE = (10.0, 15.0, 10.0)
"""Silence before each turn in seconds: while the page loads, during the first answer, and until the
second answer has begun."""
SECOND = "This is the second answer. " + "It goes on for a long time until somebody speaks. " * 12
REPLIES = {
    "conference": "This is the first answer.",
    "folder": SECOND,
    "feature": "This is the third answer.",
}
"""Answers, by a word in the question."""
PICTURES = ROOT / "runs" / "open-webui"

pytestmark = [
    pytest.mark.openwebui,
    pytest.mark.skipif(
        not (ENVIRONMENT / "bin" / "open-webui").exists(),
        reason="Open WebUI is not installed: scripts/setup_open_webui.sh",
    ),
]

Event = dict[str, Any]


@pytest.fixture(scope="module")
def proxy_url() -> Iterator[str]:
    """A proxy that requires a key, transcribes with the light recognizer and speaks."""
    try:
        find_moonshine("")
    except ModelFilesMissing as error:
        pytest.skip(str(error))
    with light_proxy(tts_model_type="auto", api_keys=(KEY,)) as url:
        wait_until_it_speaks(url, "hibari")
        yield url


@pytest.fixture(scope="module")
def open_webui_url(proxy_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Open WebUI set up as documented, with a chat model that has an answer for each turn."""
    with serve(chat_model(reply)) as chat_url:
        settings = {
            **documented_settings(proxy_url, KEY),
            **documented_settings(proxy_url, KEY, 1),
            "OPENAI_API_BASE_URL": f"{chat_url}/v1",
            "OPENAI_API_KEY": "none",
        }
        with start_open_webui(tmp_path_factory.mktemp("open-webui"), settings) as url:
            yield url


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The audio of the user in the call."""
    known = {prompt.name: prompt for prompt in prompts()}
    parts: list[Any] = []
    for name, seconds in zip(SAID, BEFORE, strict=True):
        silence = np.zeros(round(seconds * RATE), np.float32)
        parts += [silence, leveled(trimmed(known[name].samples))]
    file = tmp_path_factory.mktemp("microphone") / "call.wav"
    soundfile.write(file, np.concatenate(parts), RATE)
    return file


def reply(question: str) -> str:
    """The answer of the chat model."""
    return next(text for word, text in REPLIES.items() if word in question.lower())


class Traffic:
    """The events between the page and Open WebUI's server, in order."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.events: list[Event] = []
        """Each event with its time `at`, in seconds."""
        page.on("websocket", self._watch)

    def _watch(self, socket: WebSocket) -> None:
        if "audio/realtime" in socket.url:
            socket.on("framesent", self._add)
            socket.on("framereceived", self._add)

    def _add(self, text: str | bytes) -> None:
        event = json.loads(text)
        if event["type"] == "response.output_audio.delta":
            event["delta"] = len(event["delta"])
        if event["type"] != "input_audio_buffer.append":
            self.events.append({"at": round(monotonic(), 3), **event})

    def of(self, *types: str) -> list[Event]:
        """The events of the given types."""
        return [event for event in self.events if event["type"] in types]

    def wait(self, condition: Callable[[], object]) -> None:
        """Wait until `condition` holds."""
        for _ in range(PATIENCE // 100):
            (PICTURES / "realtime-call.json").write_text(json.dumps(self.events, indent=1))
            assert not self.of("bridge.error"), self.of("bridge.error")
            if condition():
                return
            self.page.wait_for_timeout(100)
        raise AssertionError([event["type"] for event in self.events])


def test_a_call_of_three_turns(open_webui_url: str, proxy_url: str, microphone: Path) -> None:
    """Each turn reaches the chat model, its answer is spoken, and the interrupted answer stops
    immediately."""
    signed_up(open_webui_url)
    PICTURES.mkdir(parents=True, exist_ok=True)
    known = {prompt.name: prompt.text for prompt in prompts()}
    with chromium(microphone) as browser:
        page = signed_in(browser, open_webui_url).new_page()
        traffic = Traffic(page)
        page.goto("/")
        page.get_by_role("button", name="Voice mode").click()
        completed = "conversation.item.input_audio_transcription.completed"
        traffic.wait(lambda: traffic.of("bridge.ready"))
        traffic.wait(lambda: len(traffic.of(completed)) == 2)
        spoken = "response.output_audio_transcript.done"
        traffic.wait(lambda: len(traffic.of("response.created")) == 4)
        page.wait_for_timeout(2000)
        page.screenshot(path=PICTURES / "realtime-call.png")
        traffic.wait(lambda: traffic.of("conversation.item.truncated"))
        traffic.wait(lambda: len(traffic.of(spoken)) == 3 and len(traffic.of("response.done")) == 6)
        page.wait_for_timeout(3000)
        page.screenshot(path=PICTURES / "realtime-call-end.png")
    heard = [event["transcript"] for event in traffic.of(completed)]
    for name, text in zip(SAID, heard, strict=True):
        assert errors(words(known[name]), words(text)) <= 3
    done = [event["response"] for event in traffic.of("response.done")]
    assert [response["status"] for response in done].count("cancelled") == 1
    [cancelled] = [response for response in done if response["status"] == "cancelled"]
    assert cancelled["status_details"]["reason"] == "client_cancelled"
    first, second, third = [event["transcript"] for event in traffic.of(spoken)]
    assert (first, third) == (REPLIES["conference"], REPLIES["feature"])
    assert SECOND.startswith(second)
    assert len(second) < len(SECOND)
