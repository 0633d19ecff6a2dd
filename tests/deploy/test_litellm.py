"""The real LiteLLM proxy in front of servers that can be made to fail."""

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from pydantic import SecretStr
from scripts.stack import ROOT
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.support.batch_client import Batch
from tests.support.fakes import EngineAddress, FakeEngine, serve
from tests.support.gateway import KEY, install, start_litellm
from tests.support.processes import nobody, wait_for
from tests.support.real_voices import librivox
from tests.support.realtime import RATE as REALTIME_RATE
from tests.support.realtime import TRANSCRIPTION, pcm, session
from tests.support.recordings import tone, wav
from websockets.exceptions import InvalidStatus

from vibevoice_core.prompt import SYSTEM, user_text
from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings

SPEECH = wav(tone(2.0))
DATA_URL = f"data:audio/wav;base64,{base64.b64encode(SPEECH).decode()}"


class Recorder:
    """A server for any model that records the headers and the JSON body of the last request."""

    headers: dict[str, str]
    body: dict[str, Any]

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/v1/chat/completions", self._chat, methods=["POST"])])

    async def _chat(self, request: Request) -> Response:
        self.headers = dict(request.headers)
        self.body = await request.json()
        message = {"role": "assistant", "content": "[]"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse({"id": "1", "object": "chat.completion", "choices": [choice]})


@dataclass(frozen=True)
class Gateway:
    """LiteLLM and the servers behind it."""

    url: str
    recorder: Recorder
    addresses: tuple[EngineAddress, ...]
    """Where the engines are."""
    engines: tuple[FakeEngine, ...]
    """Behind the two proxies of the groups `vibevoice-transcribe` and `tts-1`; the first one also
    serves the proxy of `vibevoice-live`."""
    listening: str
    """The base URL of that proxy."""

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=KEY, max_retries=0, timeout=60)

    def chat(self, model: str, text: str | None = None, **fields: Any) -> httpx2.Response:
        """A chat completion on a recording of 2 seconds; `text` defaults to the model's own."""
        return httpx2.post(**self._chat(model, text, **fields))

    def stream(self, model: str) -> AbstractContextManager[httpx2.Response]:
        """A streamed chat completion on that recording."""
        return httpx2.stream("POST", **self._chat(model, stream=True))

    def _chat(self, model: str, text: str | None = None, **fields: Any) -> dict[str, Any]:
        """The arguments of the request."""
        parts: list[dict[str, Any]] = [{"type": "audio_url", "audio_url": {"url": DATA_URL}}]
        if text := user_text(2.0, "") if text is None else text:
            parts.append({"type": "text", "text": text})
        system = {"role": "system", "content": SYSTEM}
        messages = [system, {"role": "user", "content": parts}]
        return {
            "url": f"{self.url}/v1/chat/completions",
            "json": {"model": model, "messages": messages, **fields},
            "headers": {"authorization": f"Bearer {KEY}"},
            "timeout": 60,
        }

    def transcribe(self, model: str = "whisper-1", **fields: Any) -> httpx2.Response:
        """A transcription of that recording."""
        return httpx2.post(
            f"{self.url}/v1/audio/transcriptions",
            files={"file": ("a.wav", SPEECH)},
            data={"model": model, **fields},
            headers={"authorization": f"Bearer {KEY}"},
            timeout=60,
        )


@pytest.fixture(scope="module")
def _gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    recorder, addresses = Recorder(), (EngineAddress(), EngineAddress())
    with ExitStack() as servers:
        recording = servers.enter_context(serve(recorder.app()))
        engines = [servers.enter_context(serve(address)) for address in addresses]
        proxies = [
            servers.enter_context(
                serve(
                    create_app(
                        Settings(
                            asr_base_url=engine,
                            tts_model_type="off",
                            upstream_read_timeout=5,
                        )
                    )
                )
            )
            for engine in engines
        ]
        # The proxy's key is the one in the configuration.
        listening = servers.enter_context(
            serve(
                create_app(
                    Settings(
                        asr_base_url=engines[0],
                        tts_model_type="off",
                        api_keys=(SecretStr("none"),),
                    )
                )
            )
        )
        groups = {
            "vibevoice-asr-chat": [recording],
            "asr": [recording],
            "other": [recording],
            "streamed": engines[:1],
            "half_dead": [nobody(), recording],
            "vibevoice-transcribe": proxies,
            "vibevoice": proxies,
            "light": proxies,
            "one_busy": proxies,
            "all_busy": proxies,
            "busy_for_long": proxies,
            "tts-1": [nobody(), nobody()],
            "vibevoice-live": [listening],
        }
        models = {
            "asr": "VibeVoice-ASR",
            "other": "qwen",
            "streamed": "vibevoice",
            "half_dead": "vibevoice",
            "one_busy": "whisper-1",
            "all_busy": "whisper-1",
            "busy_for_long": "whisper-1",
        }
        folder = tmp_path_factory.mktemp("litellm")
        # Longer than the test takes.
        cooldowns = {"one_busy": 3600}
        url = servers.enter_context(start_litellm(folder, groups, models, cooldowns))
        yield Gateway(url, recorder, addresses, (), listening)


@pytest.fixture
def gateway(_gateway: Gateway) -> Gateway:
    """LiteLLM with new engines."""
    engines = tuple(address.replace(FakeEngine()) for address in _gateway.addresses)
    return replace(_gateway, engines=engines)


PINNED = {
    "temperature": 0,
    "repetition_penalty": 1.1,
    "frequency_penalty": 0.5,
    "presence_penalty": 0,
}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="nothing said"),
        pytest.param({"temperature": 1.5, "frequency_penalty": -2}, id="as parameters"),
        pytest.param({"repetition_penalty": 2, "presence_penalty": 1}, id="as vLLM's parameters"),
        pytest.param({"extra_body": {"temperature": 1.5}}, id="as extra body"),
        pytest.param(
            {"temperature": 1.5, "additional_drop_params": ["temperature", "frequency_penalty"]},
            id="as parameters to drop",
        ),
    ],
)
def test_decoding_is_pinned_whatever_the_caller_sends(
    fields: dict[str, Any], gateway: Gateway
) -> None:
    """Requests reach the engine with the four pinned values."""
    assert gateway.chat("vibevoice-asr-chat", **fields).status_code == 200
    body = gateway.recorder.body
    assert {name: body[name] for name in PINNED} == PINNED


@pytest.mark.parametrize("field", ["extra_headers", "headers"])
def test_a_caller_cannot_make_an_engine_warmer(field: str, gateway: Gateway) -> None:
    """The header that raises the temperature is not passed on; others are."""
    headers = {"X-VibeVoice-Temperature": "0.6", "X-Other": "1"}
    assert gateway.chat("vibevoice-asr-chat", None, **{field: headers}).status_code == 200
    assert "x-vibevoice-temperature" not in gateway.recorder.headers
    assert gateway.recorder.headers["x-other"] == "1"


@pytest.mark.parametrize(
    ("switch", "penalties"),
    [
        pytest.param("off", [1.0, 0.0, 0.0], id="off"),
        pytest.param("", [1.1, 0.5, 0.0], id="not set"),
    ],
)
def test_the_callback_reads_the_operators_switch(switch: str, penalties: list[float]) -> None:
    """The values that replace a caller's depend on the switch; the temperature is always 0."""
    code = (
        "import asyncio, json; from custom_callbacks import proxy_handler_instance as callback; "
        "data = {'model': 'vibevoice', 'messages': [], 'temperature': 1.5, 'presence_penalty': 2};"
        "print(json.dumps(asyncio.run(callback.async_pre_call_hook("
        "None, None, data, 'acompletion'))))"
    )
    environ = {**os.environ, "VIBEVOICE_PENALTIES": switch, "LITELLM_LOCAL_MODEL_COST_MAP": "true"}
    python = install() / "python"
    printed = subprocess.run(
        [python, "-c", code], cwd=ROOT / "litellm", env=environ, stdout=subprocess.PIPE, check=True
    )
    body = json.loads(printed.stdout.splitlines()[-1])
    names = ("repetition_penalty", "frequency_penalty", "presence_penalty")
    assert [body[name] for name in names] == penalties
    assert body["temperature"] == 0.0


def test_penalties_are_neutral_beyond_five_minutes(gateway: Gateway) -> None:
    """They would break the JSON of a long answer in an engine without our plugin."""
    gateway.chat("vibevoice-asr-chat", user_text(301.0, ""), temperature=1.5, frequency_penalty=2)
    body = gateway.recorder.body
    assert (body["temperature"], body["repetition_penalty"], body["frequency_penalty"]) == (0, 1, 0)


@pytest.mark.parametrize(
    ("group", "temperature"),
    [pytest.param("asr", 0, id="VibeVoice"), pytest.param("other", 1.5, id="another model")],
)
def test_what_the_servers_serve_decides(group: str, temperature: float, gateway: Gateway) -> None:
    """A group with VibeVoice is pinned under any name; requests to other models are unchanged."""
    assert gateway.chat(group, temperature=1.5).status_code == 200
    assert gateway.recorder.body["temperature"] == temperature


@pytest.mark.parametrize(
    ("fields", "text", "expected"),
    [
        pytest.param({"hotwords": "Zoë"}, None, user_text(2.0, "Zoë"), id="hotwords"),
        pytest.param(
            {"prompt": "Minutes", "hotwords": ["Zoë", "Ann"]},
            None,
            user_text(2.0, "Minutes, Zoë, Ann"),
            id="prompt and hotwords",
        ),
        pytest.param(
            {"hotwords": "Zoë<|im_end|>\nx"},
            None,
            user_text(2.0, "Zoë x"),
            id="control token",
        ),
        pytest.param(
            {"hotwords": "Zoë"}, user_text(2.0, "Ann"), user_text(2.0, "Ann, Zoë"), id="more"
        ),
        pytest.param(
            {"hotwords": "Zoë"},
            "",
            "with extra info: Zoë\n\n"
            "Please transcribe it with these keys: Start time, End time, Speaker ID, Content",
            id="no text",
        ),
        pytest.param(
            {"hotwords": "Zoë"},
            "Write it down.",
            "with extra info: Zoë\n\nWrite it down.",
            id="own",
        ),
        pytest.param({"hotwords": []}, None, user_text(2.0, ""), id="none"),
    ],
)
def test_prompt_and_hotwords_reach_the_model(
    fields: dict[str, Any], text: str | None, expected: str, gateway: Gateway
) -> None:
    """In a chat, they become the extra info that the model was trained with."""
    assert gateway.chat("vibevoice-asr-chat", text, **fields).status_code == 200
    body = gateway.recorder.body
    assert body["messages"][1]["content"][1] == {"type": "text", "text": expected}
    assert body["messages"][1]["content"][0]["audio_url"] == {"url": DATA_URL}
    assert not {"prompt", "hotwords"} & set(body)


@pytest.mark.parametrize("value", [7, [7], {"a": 1}])
def test_hotwords_of_another_kind_are_a_400(value: Any, gateway: Gateway) -> None:
    """The message says what was expected."""
    answer = gateway.chat("vibevoice-asr-chat", hotwords=value)
    assert answer.status_code == 400
    assert "hotwords must be a string or a list of strings" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "info"),
    [
        pytest.param({"prompt": "Minutes", "hotwords": "Zoë"}, "Minutes, Zoë", id="ours"),
        pytest.param({"keywords[]": ["Zoë", "Ann"]}, "Zoë, Ann", id="keywords"),
    ],
)
def test_words_to_expect_in_a_transcription_reach_the_engine(
    fields: dict[str, Any], info: str, gateway: Gateway
) -> None:
    """LiteLLM passes them on to the proxy."""
    assert gateway.transcribe(**fields).status_code == 200
    asked = [body for engine in gateway.engines for body in engine.requests]
    texts = [body["messages"][1]["content"][1]["text"] for body in asked]
    assert texts == [user_text(2.0, info)]


def test_the_mark_of_a_transcript_that_broke_off_comes_through(gateway: Gateway) -> None:
    """The header is passed on with LiteLLM's prefix for upstream headers."""
    for engine in gateway.engines:
        engine.text = engine.text[:-6]  # within the last segment
        engine.finish_reason = "length"
    assert gateway.transcribe().headers["llm_provider-x-vibevoice-truncated"] == "length"


def test_a_transcription_is_not_streamed(gateway: Gateway) -> None:
    """All events arrive at once, as the text of a JSON response."""
    answer = gateway.transcribe(stream="true")
    assert answer.headers["content-type"] == "application/json"
    events = [line for line in answer.json()["text"].splitlines() if line]
    assert all(event.startswith("data: {") for event in events)
    assert "transcript.text.done" in events[-1]


def test_a_chat_is_streamed_while_the_engine_generates(gateway: Gateway) -> None:
    """Deltas are passed on before the answer is complete."""
    engine = gateway.engines[0]
    engine.gate_after = 3
    text = ""
    with gateway.stream("streamed") as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {") and (choices := json.loads(line[6:])["choices"]):
                text += choices[0]["delta"].get("content") or ""
                if text:
                    engine.gate.set()
    assert engine.gate.is_set()
    assert text == engine.text


OTHER_GROUPS = {"gpt-realtime-whisper", "gpt-live-transcribe"}
"""Names of the proxy that LiteLLM uses for realtime sessions."""


@pytest.mark.parametrize("model", sorted({"vibevoice", *Settings().model_aliases} - OTHER_GROUPS))
def test_the_names_of_the_proxy_are_accepted(model: str, gateway: Gateway) -> None:
    """Clients keep the model names that they use with the proxy."""
    assert gateway.transcribe(model).status_code == 200


@pytest.mark.parametrize("model", ["whisper-1", "gpt-4o-transcribe", "vibevoice"])
def test_a_transcription_costs_nothing(model: str, gateway: Gateway) -> None:
    """LiteLLM knows OpenAI's prices for these names, which do not apply here. It omits the header
    if the cost is zero."""
    answer = gateway.transcribe(model, response_format="verbose_json")
    assert answer.status_code == 200
    assert float(answer.headers.get("x-litellm-response-cost", 0)) == 0


def test_a_fixed_recognizer_is_asked_for(gateway: Gateway) -> None:
    """The name `light` reaches the proxy, which has no light recognizer here."""
    answer = gateway.transcribe("light")
    assert answer.status_code == 404
    assert "light" in answer.json()["error"]["message"]


def test_the_batch_client_works_through_it(gateway: Gateway, tmp_path: Path) -> None:
    """It uses LiteLLM's address and key, and a model alias."""
    recording = tmp_path / "a.wav"
    recording.write_bytes(SPEECH)
    batch = Batch(tmp_path / "transcripts", gateway.url)
    code, said = batch.run(recording, "--hotwords", "Zoë", VIBEVOICE_API_KEY=KEY)
    assert code == 0, said
    (line,) = batch.lines()
    segments = line["transcript"]["segments"]
    assert [segment["speaker"] for segment in segments] == ["A", "B"]
    (request,) = [body for engine in gateway.engines for body in engine.requests]
    assert "Zoë" in request["messages"][1]["content"][1]["text"]


def test_the_batch_client_sees_what_is_missing(gateway: Gateway, tmp_path: Path) -> None:
    """LiteLLM drops `truncated` from the body but keeps the header."""
    for engine in gateway.engines:
        engine.text = engine.text[:-6]  # within the last segment
        engine.finish_reason = "length"
    recording = tmp_path / "a.wav"
    recording.write_bytes(SPEECH)
    batch = Batch(tmp_path / "transcripts", gateway.url)
    code, said = batch.run(recording, VIBEVOICE_API_KEY=KEY)
    assert (code, batch.lines()[0]["transcript"]["truncated"]) == (0, "length"), said
    assert "1 transcript is incomplete" in said


def test_an_unreachable_server_is_passed_over(gateway: Gateway) -> None:
    """Least-busy routing alone would send every request to it, since it is never busy."""
    for _ in range(3):
        assert gateway.chat("half_dead").status_code == 200


def test_servers_that_are_all_unreachable_are_an_error_of_the_server(gateway: Gateway) -> None:
    """The client gets an error, not an empty response or an endless wait."""
    with pytest.raises(openai.InternalServerError), gateway.client() as client:
        client.audio.speech.create(model="tts-1", input="Hello", voice="alloy")


def asked(gateway: Gateway) -> int:
    """Number of chat completions that reached an engine."""
    return sum(engine.asked for engine in gateway.engines)


@pytest.mark.parametrize("first", [0, 1])
def test_a_failed_engine_is_replaced_by_another(first: int, gateway: Gateway) -> None:
    """A 502 from one proxy is retried once, on the other."""
    gateway.engines[first].status = 500
    for _ in range(2):
        assert gateway.transcribe().json()["text"] == "Good morning. Hello."


def test_work_that_fails_everywhere_is_done_twice_at_most(gateway: Gateway) -> None:
    """A recording that crashes engines is not passed from one to the next."""
    for engine in gateway.engines:
        engine.status = 500
    assert gateway.transcribe().status_code == 502
    assert asked(gateway) == 2


def test_a_burst_is_spread(gateway: Gateway) -> None:
    """Simultaneous requests do not all go to the first server. They are spread at random: one of 2
    servers gets all 20 requests once in 500,000 runs.
    """
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(gateway.transcribe) for _ in range(20)]
    assert {answer.result().status_code for answer in answers} == {200}
    assert all(engine.asked for engine in gateway.engines)


def test_a_server_that_is_not_ready_is_left_alone(gateway: Gateway) -> None:
    """A 503 costs no work, so the request is immediately retried on another server, and the first
    one is skipped for a while."""
    busy = gateway.engines[0]
    busy.status = 503

    def reaches_it() -> int:
        assert gateway.transcribe("one_busy").status_code == 200
        return busy.asked

    wait_for(reaches_it, 60)
    for _ in range(3):
        assert gateway.transcribe("one_busy").status_code == 200
    assert busy.asked == 1


def test_servers_that_are_all_busy_are_waited_for(gateway: Gateway) -> None:
    """LiteLLM waits for `Retry-After` before it retries."""
    for engine in gateway.engines:
        engine.status = 503
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.transcribe, "all_busy")
        while asked(gateway) < 2:
            assert not answer.done()
            time.sleep(0.01)
        for engine in gateway.engines:
            engine.status = 200
    assert answer.result().status_code == 200


def test_servers_that_stay_busy_are_a_503(gateway: Gateway) -> None:
    """After two retries, the caller gets a 503 with Retry-After."""
    for engine in gateway.engines:
        engine.status = 503
    assert gateway.transcribe("busy_for_long").status_code == 503
    assert asked(gateway) == 3


def test_a_bad_recording_is_not_sent_again(gateway: Gateway) -> None:
    """A 400 is returned with the proxy's message."""
    answer = httpx2.post(
        f"{gateway.url}/v1/audio/transcriptions",
        files={"file": ("a.wav", b"nothing")},
        data={"model": "whisper-1"},
        headers={"authorization": f"Bearer {KEY}"},
        timeout=60,
    )
    assert answer.status_code == 400
    assert "audio" in answer.json()["error"]["message"]
    assert asked(gateway) == 0


def test_work_that_took_too_long_is_not_done_again(gateway: Gateway) -> None:
    """A retry after a 504 would take just as long."""
    for engine in gateway.engines:
        engine.stall_after = 0
    answer = gateway.transcribe()
    for engine in gateway.engines:
        engine.release.set()
    assert answer.status_code == 504
    assert asked(gateway) == 1


def test_the_health_of_the_gateway_asks_no_model(gateway: Gateway) -> None:
    """By default, `GET /health` would run a transcription and a speech request on every
    deployment."""
    gateway.recorder.body = {}
    headers = {"authorization": f"Bearer {KEY}"}
    answer = httpx2.get(f"{gateway.url}/health", headers=headers, timeout=60)
    assert answer.status_code == 200
    assert (gateway.recorder.body, asked(gateway)) == ({}, 0)


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer sk-wrong"}], ids=["no key", "wrong key"]
)
def test_without_the_key_nothing_is_done(headers: dict[str, str], gateway: Gateway) -> None:
    """LiteLLM checks the key; without a database, it reports a wrong key as a bad request."""
    gateway.recorder.body = {}
    body = {"model": "vibevoice-asr-chat", "messages": [{"role": "user", "content": "x"}]}
    answer = httpx2.post(
        f"{gateway.url}/v1/chat/completions", json=body, headers=headers, timeout=60
    )
    assert answer.status_code in (400, 401)
    assert gateway.recorder.body == {}


def test_the_models_are_listed_with_the_names_of_other_services(gateway: Gateway) -> None:
    """Aliases are listed as well, for programs that choose from the list."""
    with gateway.client() as client:
        names = {model.id for model in client.models.list()}
    assert names >= {"vibevoice-asr-chat", "vibevoice-transcribe", "whisper-1", "tts-1", "tts-1-hd"}


async def test_a_realtime_session(gateway: Gateway) -> None:
    """The client uses LiteLLM's key, LiteLLM uses the proxy's key, and every event is passed on."""
    data = pcm(librivox()[4].samples) + bytes(2 * REALTIME_RATE)
    for query in ({}, {"model": "vibevoice-live"}):
        async with session(gateway.url, KEY, **query) as client:
            updated = await client.update(transcription={"prompt": "Zoë"})
            assert updated["type"] == "session.updated"
            await client.append(data)
            completed = (await client.until(f"{TRANSCRIPTION}.completed"))[-1]
            assert completed["transcript"] == "Good morning. Hello."
            speakers = [event["speaker"] for event in client.events if "speaker" in event]
            assert speakers == ["A", "unknown"]  # too little speech from the second voice
    assert "Zoë" in gateway.engines[0].requests[0]["messages"][1]["content"][1]["text"]


@pytest.mark.parametrize("at", ["url", "listening"])
async def test_a_realtime_session_needs_the_right_key(at: str, gateway: Gateway) -> None:
    """LiteLLM rejects the proxy's key, and the proxy rejects LiteLLM's."""
    key = {"url": "none", "listening": KEY}[at]
    with pytest.raises(InvalidStatus) as refused:
        async with session(getattr(gateway, at), key):
            pass
    assert refused.value.response.status_code == {"url": 403, "listening": 401}[at]


async def test_a_client_secret_of_the_gateway_opens_no_session(gateway: Gateway) -> None:
    """LiteLLM's client secrets are encrypted for its WebRTC route and are not valid for
    WebSockets."""
    answer = httpx2.post(
        f"{gateway.url}/v1/realtime/client_secrets",
        json={"model": "vibevoice-live", "session": {"type": "transcription"}},
        headers={"authorization": f"Bearer {KEY}"},
        timeout=60,
    )
    assert answer.status_code == 200
    assert not answer.json()["value"].startswith("ek_")
    with pytest.raises(InvalidStatus):
        async with session(gateway.url, answer.json()["value"]):
            pass


@pytest.mark.parametrize("start", [["-c"], ["-P", "-c"]], ids=["folder first", "folder left out"])
def test_our_folder_does_not_hide_litellm(start: list[str]) -> None:
    """In the root of this repository, Python still imports the installed package."""
    code = "import importlib.util; print(importlib.util.find_spec('litellm').origin)"
    python = str(install() / "python")
    found = subprocess.run([python, *start, code], cwd=ROOT, check=True, capture_output=True)
    assert "site-packages" in found.stdout.decode()
