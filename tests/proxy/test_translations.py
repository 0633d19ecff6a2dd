"""POST /v1/audio/translations with a fake engine and a fake chat model on real sockets."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import openai
import pytest
from openai.types.audio import TranslationVerbose
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from tests.support.fakes import FakeEngine, StartProxy, serve
from tests.support.recordings import tone, wav

pytest_plugins = ("tests.support.proxy_fixtures",)

SPEECH = wav(tone(2.0))
TRANSLATIONS = "/v1/audio/translations"
GERMAN = (
    '[{"Start":0.0,"End":0.5,"Speaker":0,"Content":"Guten Morgen."},'
    '{"Start":0.5,"End":1.0,"Content":"[Music]"},'
    '{"Start":1.0,"End":2.0,"Speaker":1,"Content":"Hallo."}]'
)


@dataclass
class FakeTranslator:
    """A chat model that returns its input in capitals, or a configured answer."""

    answers: list[Any] = field(default_factory=list)
    """The next answers: the text of a message, or a status. After that, the input in capitals."""
    silent: bool = False
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    def app(self) -> ASGIApp:
        """The single route of a chat model."""
        return Starlette(routes=[Route("/v1/chat/completions", self._chat, methods=["POST"])])

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.keys.append(request.headers.get("authorization"))
        if self.silent:
            await asyncio.sleep(30)
        texts = json.loads(body["messages"][-1]["content"])
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, int):
            return PlainTextResponse("boom secret-key", answer)
        if answer is None:
            answer = json.dumps({"translations": [text.upper() for text in texts]})
        return JSONResponse({"choices": [{"message": {"role": "assistant", "content": answer}}]})


@pytest.fixture
def translator() -> Iterator[tuple[FakeTranslator, str]]:
    """The chat model and its base URL."""
    fake = FakeTranslator()
    with serve(fake.app()) as url:
        yield fake, f"{url}/v1"


@pytest.fixture
def proxy(
    translator: tuple[FakeTranslator, str], start_proxy: StartProxy, fake_engine: FakeEngine
) -> str:
    """A proxy that translates German."""
    fake_engine.text = GERMAN
    return start_proxy(
        translate_base_url=translator[1],
        translate_model="any-llm",
        translate_api_key="secret-key",
        translate_timeout=5.0,
    )


@pytest.fixture
def http(proxy: str) -> Iterator[httpx2.Client]:
    """A client for the translating proxy."""
    with httpx2.Client(base_url=proxy, timeout=30) as client:
        yield client


def post(http: httpx2.Client, **fields: Any) -> httpx2.Response:
    """A translation of speech."""
    return http.post(TRANSLATIONS, data=fields, files={"file": ("a", SPEECH)})


@pytest.mark.parametrize("path", [TRANSLATIONS, "/audio/translations"])
def test_without_a_translating_model_it_says_so(
    path: str, start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """A clear 400, which clients do not retry; the engine is not called."""
    answer = httpx2.post(start_proxy() + path, files={"file": ("a", SPEECH)}, timeout=60)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "unsupported")
    assert "/v1/audio/transcriptions" in error["message"]
    assert fake_engine.asked == 0


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_the_official_client_gets_english_with_times_and_speakers(proxy: str) -> None:
    """Only the words change; noises, times and speakers stay."""
    with openai.OpenAI(base_url=f"{proxy}/v1", api_key="none") as client:
        answer = client.audio.translations.create(
            file=SPEECH, model="whisper-1", response_format="verbose_json"
        )
    assert isinstance(answer, TranslationVerbose)
    assert (answer.text, answer.language, answer.duration) == (
        "GUTEN MORGEN. HALLO.",
        "english",
        2.0,
    )
    assert answer.model_extra is not None
    assert answer.model_extra["task"] == "translate"
    assert answer.segments is not None
    assert [
        (item.start, item.end, (item.model_extra or {})["speaker"], item.text)
        for item in answer.segments
    ] == [
        (0.0, 0.5, "A", "GUTEN MORGEN."),
        (0.5, 1.0, None, "[Music]"),
        (1.0, 2.0, "B", "HALLO."),
    ]


@pytest.mark.parametrize(
    ("response_format", "start"),
    [
        ("json", '{"text": "GUTEN MORGEN. HALLO."'),
        ("text", "GUTEN MORGEN. HALLO.\n"),
        ("srt", "1\n00:00:00,000 --> 00:00:00,500\nA: GUTEN MORGEN.\n"),
        ("vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:00.500\n<v A>GUTEN MORGEN.\n"),
    ],
)
def test_a_translation_has_the_formats_of_a_transcription(
    response_format: str, start: str, http: httpx2.Client
) -> None:
    """All formats of OpenAI's translations are supported."""
    assert post(http, response_format=response_format).text.startswith(start)


def test_a_translation_has_no_diarized_json(http: httpx2.Client) -> None:
    """OpenAI's translations do not support diarized_json either; the message lists the available
    formats."""
    answer = post(http, response_format="diarized_json")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "response_format")


def test_the_model_is_asked_for_a_list_of_the_same_length(
    http: httpx2.Client, translator: tuple[FakeTranslator, str]
) -> None:
    """One request with the key, only the words, and a schema for the response."""
    assert post(http).status_code == 200
    (request,) = translator[0].requests
    assert request["model"] == "any-llm"
    assert json.loads(request["messages"][1]["content"]) == ["Guten Morgen.", "Hallo."]
    assert request["response_format"]["json_schema"]["schema"]["required"] == ["translations"]
    assert translator[0].keys == ["Bearer secret-key"]


def test_many_segments_go_in_batches_and_come_back_in_order(
    http: httpx2.Client, translator: tuple[FakeTranslator, str], fake_engine: FakeEngine
) -> None:
    """No request is longer than a model can keep track of."""
    words = [f"wort {number}" for number in range(130)] + [" ".join(map(str, range(1600)))]
    fake_engine.split = 500
    fake_engine.text = json.dumps(
        [{"Start": 0.0, "End": 1.0, "Speaker": 0, "Content": word} for word in words]
    )
    answer = post(http, response_format="verbose_json").json()
    assert [item["text"] for item in answer["segments"]] == [word.upper() for word in words]
    sizes = [len(json.loads(item["messages"][1]["content"])) for item in translator[0].requests]
    assert sorted(sizes) == [1, 30, 50, 50]


WRONG = [
    pytest.param(500, id="status"),
    pytest.param(429, id="busy"),
    pytest.param("no JSON", id="no JSON"),
    pytest.param('{"translations": ["one"]}', id="too few"),
    pytest.param('{"translations": ["a", "b", "c"]}', id="too many"),
    pytest.param('{"translations": ["a", " "]}', id="nothing for one"),
    pytest.param('{"translations": "a"}', id="no list"),
]


@pytest.mark.parametrize("answer", WRONG)
def test_a_wrong_answer_is_asked_for_once_more(
    answer: Any, http: httpx2.Client, translator: tuple[FakeTranslator, str]
) -> None:
    """A single mistake of the model does not affect the client."""
    translator[0].answers = [answer]
    assert post(http).json()["text"] == "GUTEN MORGEN. HALLO."
    assert len(translator[0].requests) == 2


@pytest.mark.parametrize("answer", WRONG[:4])
def test_two_wrong_answers_are_a_502(
    answer: Any, http: httpx2.Client, translator: tuple[FakeTranslator, str]
) -> None:
    """The client is told not to retry, since that would repeat the transcription too."""
    translator[0].answers = [answer, answer]
    failure = post(http)
    assert (failure.status_code, failure.headers["x-should-retry"]) == (502, "false")
    assert failure.json()["error"]["type"] == "server_error"
    assert "secret" not in failure.text
    assert len(translator[0].requests) == 2


def test_a_translating_model_that_is_silent_is_a_504(
    translator: tuple[FakeTranslator, str], start_proxy: StartProxy
) -> None:
    """The translation model has its own timeout."""
    translator[0].silent = True
    url = start_proxy(translate_base_url=translator[1], translate_model="x", translate_timeout=0.2)
    answer = httpx2.post(url + TRANSLATIONS, files={"file": ("a", SPEECH)}, timeout=30)
    assert (answer.status_code, answer.headers["x-should-retry"]) == (504, "false")


def test_a_translating_model_that_is_down_is_a_502(start_proxy: StartProxy) -> None:
    """Nothing listens at the address of the model."""
    url = start_proxy(translate_base_url="http://127.0.0.1:9/v1", translate_model="x")
    answer = httpx2.post(url + TRANSLATIONS, files={"file": ("a", SPEECH)}, timeout=30)
    assert answer.status_code == 502
    assert "cannot be reached" in answer.json()["error"]["message"]
    assert "127.0.0.1" not in answer.text


def test_silence_is_not_translated(
    http: httpx2.Client, translator: tuple[FakeTranslator, str]
) -> None:
    """Without words, there is nothing to translate."""
    answer = http.post(TRANSLATIONS, files={"file": ("a", wav(0 * tone(1.0)))})
    assert (answer.status_code, answer.json()["text"]) == (200, "")
    assert translator[0].requests == []
