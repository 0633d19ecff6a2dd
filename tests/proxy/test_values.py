"""Values as clients write them: lists, names and unset values in every spelling."""

from typing import Any

import httpx2
import pytest
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine, StartProxy
from tests.support.recordings import tone, wav

pytest_plugins = ("tests.support.proxy_fixtures",)

SPEECH = wav(tone(2.0))
WORDS = "Good morning. Hello."


def info(engine: FakeEngine) -> str:
    """The context that the engine got besides the audio."""
    text = engine.requests[-1]["messages"][1]["content"][1]["text"]
    return text.partition("extra info: ")[2].partition("\n")[0]


SPELLED = [
    pytest.param({"keywords": "Ann"}, "Ann", id="plain"),
    pytest.param({"keywords[]": ["Ann", "Bob"]}, "Ann, Bob", id="brackets"),
    pytest.param({"keywords[0]": "Ann", "keywords[1]": "Bob"}, "Ann, Bob", id="numbered"),
    pytest.param({"keywords": ["Ann", "Bob"]}, "Ann, Bob", id="repeated"),
    pytest.param({"keywords": '["Ann", "Bob"]'}, "Ann, Bob", id="JSON"),
    pytest.param({"keywords[]": '["Ann"]'}, "Ann", id="JSON in brackets"),
    pytest.param({"keywords": "[]", "prompt": "x"}, "x", id="empty JSON"),
    pytest.param({"keywords": ["undefined", "Ann", "null", " "]}, "Ann", id="none among them"),
    pytest.param({"keywords": "[Ann]"}, "[Ann]", id="no JSON"),
    pytest.param({"keywords": "Ann, Bob"}, "Ann, Bob", id="commas"),
]


@pytest.mark.parametrize(("fields", "said"), SPELLED)
def test_lists_in_every_spelling(
    fields: dict[str, Any], said: str, http: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """Real clients use all of these spellings."""
    answer = http.post(TRANSCRIPTIONS, data=fields, files={"file": ("a", SPEECH)})
    assert (answer.status_code, info(fake_engine)) == (200, said)


@pytest.mark.parametrize(
    "fields",
    [
        {"timestamp_granularities": "word,segment"},
        {"timestamp_granularities[]": " Word , segment "},
        {"timestamp_granularities": '["word"]'},
        {"timestamp_granularities": "['word', 'segment']"},
        {"timestamp_granularities[0]": "word", "timestamp_granularities[1]": "segment"},
        {"timestamp_granularities[]": ["", "word"]},
        {"include": "logprobs", "include[]": "LOGPROBS,"},
        {"response_format": " JSON "},
        {"response_format": '"json"'},
        {"stream": "false "},
        {"stream": "OFF"},
        {"stream": "No"},
        {"stream": "0"},
    ],
    ids=str,
)
def test_names_in_every_spelling(fields: dict[str, Any], http: httpx2.Client) -> None:
    """Lists may use commas, JSON or Python's brackets, with any case, quotes and spaces."""
    answer = http.post(TRANSCRIPTIONS, data=fields, files={"file": ("a", SPEECH)})
    assert (answer.status_code, answer.json()) == (200, answer.json() | {"text": WORDS})


@pytest.mark.parametrize("fields", [{"timestamp_granularities": "word,letter"}, {"include": "x"}])
def test_wrong_names_in_a_list_are_told(fields: dict[str, str], http: httpx2.Client) -> None:
    """An unknown name is also reported in a comma-separated list."""
    answer = http.post(TRANSCRIPTIONS, data=fields, files={"file": ("a", SPEECH)})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] in fields


NOTHING = ["", " ", "undefined", "null", "None", "nil", "NULL", "(null)", '""', "\t\r\n"]
FIELDS = ["model", "language", "prompt", "response_format", "temperature", "stream", "keywords"]


@pytest.mark.parametrize("nothing", NOTHING, ids=repr)
def test_what_clients_write_for_nothing(
    nothing: str, start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """An unset variable of a dynamically typed language is not a value for any field."""
    with httpx2.Client(base_url=start_proxy(strict_model_names=True), timeout=60) as http:
        fields = dict.fromkeys([*FIELDS, "timestamp_granularities[]", "include[]"], nothing)
        answer = http.post(TRANSCRIPTIONS, data=fields, files={"file": ("a", SPEECH)})
    assert (answer.status_code, info(fake_engine)) == (200, "")


@pytest.mark.parametrize("nothing", ["NaN", "nan", "-NaN"])
def test_a_temperature_that_is_no_number_is_not_given(nothing: str, http: httpx2.Client) -> None:
    """JavaScript writes an unset number as NaN."""
    fields = {"temperature": nothing}
    answer = http.post(TRANSCRIPTIONS, data=fields, files={"file": ("a", SPEECH)})
    assert answer.status_code == 200


@pytest.mark.parametrize("field", ["language", "languages[]"])
@pytest.mark.parametrize("word", ["auto", "Auto", "detect", "auto-detect", "undefined", "und"])
def test_a_language_that_is_asked_for_is_not_given(
    word: str, field: str, http: httpx2.Client
) -> None:
    """A request for detection is not echoed as a language."""
    fields = {field: word, "response_format": "verbose_json"}
    answer = http.post(TRANSCRIPTIONS, data=fields, files={"file": ("a", SPEECH)})
    assert (answer.status_code, answer.json()["language"]) == (200, "unknown")


@pytest.mark.parametrize(
    ("value", "language"),
    [("auto,de", "de"), ('["de", "de"]', "de"), (" de ", "de"), ('["de", "en"]', "unknown")],
)
def test_languages_are_a_list(value: str, language: str, http: httpx2.Client) -> None:
    """They are possible languages: one is the recording's, several may all be."""
    fields = {"languages": value, "response_format": "verbose_json"}
    answer = http.post(TRANSCRIPTIONS, data=fields, files={"file": ("a", SPEECH)})
    assert answer.json()["language"] == language
