"""The real LiteLLM proxy in front of two real engines and two proxies."""

import base64
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import psutil
import pytest
import soundfile
from scripts.stack import ROOT
from tests.support.engine import TINY, start_engine
from tests.support.fakes import serve
from tests.support.gateway import KEY, start_litellm

from vibevoice_core.prompt import SYSTEM, user_text
from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings

pytestmark = pytest.mark.engine

SAMPLE = ROOT / "samples" / "two-speakers.wav"
TRUTH = json.loads(SAMPLE.with_suffix(".json").read_text())["segments"]
WORDS = [segment["text"] for segment in TRUTH]
SPEAKERS = [segment["speaker"] for segment in TRUTH]


@dataclass(frozen=True)
class Stack:
    """LiteLLM's base URL and those of the engines behind it; the second engine may be killed."""

    url: str
    engines: tuple[str, str]


@pytest.fixture(scope="module")
def stack(engine_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """LiteLLM → two proxies → an engine each, and LiteLLM → the same two engines."""
    log = tmp_path_factory.mktemp("second-engine") / "log"
    with ExitStack() as parts:
        engines = (engine_url, parts.enter_context(start_engine(TINY, log)))
        proxies = [
            parts.enter_context(
                serve(create_app(Settings(asr_base_url=engine, tts_model_type="espeak")))
            )
            for engine in engines
        ]
        servers = {"vibevoice-asr-chat": engines, "vibevoice-transcribe": proxies, "tts-1": proxies}
        yield Stack(
            parts.enter_context(start_litellm(tmp_path_factory.mktemp("litellm"), servers)), engines
        )


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    """The official client, without retries of its own."""
    url = f"{stack.url}/v1"
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=120) as client:
        yield client


def transcribe(client: openai.OpenAI, response_format: Any) -> Any:
    """LiteLLM's response to the sample."""
    with SAMPLE.open("rb") as file:
        return client.audio.transcriptions.create(
            model="whisper-1", file=file, response_format=response_format
        )


def test_json_has_the_words(client: openai.OpenAI) -> None:
    """The default format."""
    assert transcribe(client, "json").text == " ".join(WORDS)


@pytest.mark.parametrize("response_format", ["verbose_json", "diarized_json"])
def test_segments_keep_times_and_speakers(response_format: str, client: openai.OpenAI) -> None:
    """Both formats with segments survive LiteLLM."""
    answer = transcribe(client, response_format)
    segments = [segment.model_dump() for segment in answer.segments]
    assert [segment["text"] for segment in segments] == WORDS
    assert [segment["speaker"] for segment in segments] == SPEAKERS
    for segment, truth in zip(segments, TRUTH, strict=True):
        assert segment["start"] == pytest.approx(truth["start"], abs=0.3)
        assert segment["end"] == pytest.approx(truth["end"], abs=0.3)


@pytest.mark.parametrize(
    ("response_format", "start"),
    [
        pytest.param("text", WORDS[0], id="text"),
        pytest.param("srt", "1\n00:00:0", id="srt"),
        pytest.param("vtt", "WEBVTT\n\n00:00:0", id="vtt"),
    ],
)
def test_text_formats_come_inside_json(
    response_format: str, start: str, client: openai.OpenAI
) -> None:
    """LiteLLM wraps them in JSON: the text is complete, in the field `text`."""
    body = json.loads(transcribe(client, response_format))
    assert body["text"].startswith(start)
    assert all(words in body["text"] for words in WORDS)


def test_speech_is_mp3(client: openai.OpenAI) -> None:
    """Speech arrives complete, in the default format."""
    speech = client.audio.speech.create(model="tts-1", voice="alloy", input="One two three.")
    assert speech.response.headers["content-type"] == "audio/mpeg"
    audio = soundfile.info(io.BytesIO(speech.content))
    assert audio.format == "MP3"
    assert 0.5 < audio.duration < 5


def chat_request(stack: Stack, **fields: Any) -> dict[str, Any]:
    """The arguments of a POST request for a chat completion on the sample."""
    url = f"data:audio/wav;base64,{base64.b64encode(SAMPLE.read_bytes()).decode()}"
    content = [
        {"type": "audio_url", "audio_url": {"url": url}},
        {"type": "text", "text": user_text(soundfile.info(SAMPLE).duration, "")},
    ]
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": content},
    ]
    return {
        "url": f"{stack.url}/v1/chat/completions",
        "json": {"model": "vibevoice-asr-chat", "messages": messages, "max_tokens": 500, **fields},
        "headers": {"authorization": f"Bearer {KEY}"},
        "timeout": 120,
    }


def chat(stack: Stack, **fields: Any) -> httpx2.Response:
    """A chat completion on the sample."""
    return httpx2.post(**chat_request(stack, **fields))


def spoken(answer: httpx2.Response) -> list[str]:
    """The words of each segment in a chat completion."""
    content = answer.raise_for_status().json()["choices"][0]["message"]["content"]
    return [segment["Content"] for segment in json.loads(content)]


def test_chat_goes_to_an_engine_pinned(stack: Stack) -> None:
    """With a temperature of 1.5 and any seed, the answer is that of the pinned decoding."""
    pinned = chat(stack).json()["choices"][0]["message"]["content"]
    for seed in range(3):
        answer = chat(stack, temperature=1.5, seed=seed, extra_body={"temperature": 1.5})
        assert answer.json()["choices"][0]["message"]["content"] == pinned
    assert [segment["Content"] for segment in json.loads(pinned)] == WORDS


def test_chat_is_streamed(stack: Stack) -> None:
    """Deltas add up to the same answer. (test_litellm.py: they arrive while it is generated.)"""
    deltas: list[str] = []
    with httpx2.stream("POST", **chat_request(stack, stream=True)) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {") and (choices := json.loads(line[6:])["choices"]):
                if content := choices[0]["delta"].get("content"):
                    deltas.append(content)
    assert [segment["Content"] for segment in json.loads("".join(deltas))] == WORDS
    assert len(deltas) > 1


def kill(url: str) -> None:
    """Kill the engine at `url` and its children, as in a crash."""
    port = int(url.rpartition(":")[2])
    listening = [
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
    ]
    assert listening and listening[0]
    parent = psutil.Process(listening[0])
    for process in [*parent.children(recursive=True), parent]:
        process.kill()


def test_an_engine_killed_under_load_fails_no_other_request(
    stack: Stack, client: openai.OpenAI
) -> None:
    """Chats and transcriptions continue on the other engine; only requests in the killed engine may
    fail."""

    def ask(number: int) -> tuple[float, str, bool]:
        """Send a request; return its start time, the engine or proxy that responded, and whether
        the response was correct."""
        started = time.monotonic()
        if number % 2:
            answer = chat(stack)
            ok = answer.status_code == 200 and spoken(answer) == WORDS
            return started, answer.headers.get("x-litellm-model-api-base", ""), ok
        try:
            return started, "", transcribe(client, "json").text == " ".join(WORDS)
        except openai.APIError:
            return started, "", False

    answers: list[tuple[float, str, bool]] = []
    killed = 0.0
    both = {f"{engine}/v1" for engine in stack.engines}
    with ThreadPoolExecutor(6) as pool:
        pending: set[Future[tuple[float, str, bool]]] = {pool.submit(ask, n) for n in range(16)}
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            answers += [future.result() for future in done]
            if killed:
                continue
            assert all(ok for _, _, ok in answers)
            if len(answers) >= 10 and {server for _, server, _ in answers} >= both:
                kill(stack.engines[1])
                killed = time.monotonic()
                pending |= {pool.submit(ask, n) for n in range(12)}
            else:  # the load goes on until both engines have answered a chat
                assert len(answers) < 100
                pending |= {pool.submit(ask, len(answers) + n) for n in range(len(done))}
    later = [(server, ok) for started, server, ok in answers if started > killed]
    assert len(later) >= 12
    assert all(ok for _, ok in later)
    assert f"{stack.engines[1]}/v1" not in {server for server, _ in later}
