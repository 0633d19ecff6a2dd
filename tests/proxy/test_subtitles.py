"""Limits of subtitles in the form, in JSON bodies and in the settings."""

import base64
import json

import httpx2
import pytest
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine, StartProxy
from tests.support.recordings import tone, wav

pytest_plugins = ("tests.support.proxy_fixtures",)

RECORDING = wav(tone(20.0))
WORDS = "one two three four five six seven eight nine ten " * 5


@pytest.fixture(autouse=True)
def long_segment(fake_engine: FakeEngine) -> None:
    """The engine returns one segment of 245 characters in 20 s."""
    segment = {"Start": 0.0, "End": 20.0, "Speaker": 0, "Content": WORDS.strip()}
    fake_engine.text = json.dumps([segment])


def lines(url: str, **fields: str) -> list[list[str]]:
    """The lines of each cue of an srt answer."""
    data = {"response_format": "srt", **fields}
    answer = httpx2.post(
        url + TRANSCRIPTIONS, data=data, files={"file": ("a", RECORDING)}, timeout=60
    )
    assert answer.status_code == 200
    return [block.split("\n")[2:] for block in answer.text.strip().split("\n\n")]


def test_subtitles_have_two_lines_of_42_by_default(start_proxy: StartProxy) -> None:
    """These are the usual limits in broadcasting."""
    cues = lines(start_proxy())
    assert len(cues) >= 3
    assert max(len(line) for cue in cues for line in cue) <= 42
    assert max(map(len, cues)) == 2


@pytest.mark.parametrize(
    ("fields", "cues"),
    [
        pytest.param({"max_line_width": "20", "max_line_count": "1"}, 13, id="narrow"),
        pytest.param({"max_line_width": "0", "max_cue_seconds": "0"}, 1, id="off"),
        pytest.param({"max_line_width": "300", "max_cue_seconds": "5"}, 4, id="seconds"),
    ],
)
def test_the_form_sets_the_limits(
    fields: dict[str, str], cues: int, start_proxy: StartProxy
) -> None:
    """Limits in the form override the settings."""
    assert len(lines(start_proxy(max_line_width=10), **fields)) in range(cues, cues + 4)


def test_settings_switch_the_limits_off(start_proxy: StartProxy) -> None:
    """Without limits, each segment is one cue on one line."""
    url = start_proxy(max_line_width=0, max_line_count=0, max_cue_seconds=0)
    assert lines(url) == [[WORDS.strip()]]


def test_a_json_body_may_have_them_too(start_proxy: StartProxy) -> None:
    """In JSON bodies, the limits are numbers."""
    body = {
        "input_audio": {"data": base64.b64encode(RECORDING).decode(), "format": "wav"},
        "response_format": "vtt",
        "max_line_width": 0,
        "max_cue_seconds": 0,
    }
    answer = httpx2.post(start_proxy() + TRANSCRIPTIONS, json=body, timeout=60)
    assert WORDS.strip() in answer.text


def test_json_formats_keep_the_models_segments(start_proxy: StartProxy) -> None:
    """Only subtitles are split."""
    data = {"response_format": "verbose_json", "max_line_width": "10"}
    files = {"file": ("a", RECORDING)}
    answer = httpx2.post(start_proxy() + TRANSCRIPTIONS, data=data, files=files, timeout=60).json()
    assert [segment["text"] for segment in answer["segments"]] == [WORDS.strip()]


@pytest.mark.parametrize("value", ["-1", "many", "1001"])
def test_a_wrong_limit_is_a_400(value: str, start_proxy: StartProxy) -> None:
    """The message names the field."""
    data = {"response_format": "srt", "max_line_width": value}
    files = {"file": ("a", RECORDING)}
    answer = httpx2.post(start_proxy() + TRANSCRIPTIONS, data=data, files=files, timeout=60)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "max_line_width"
