"""The tiny models of tests/data speak through their workers and POST /v1/audio/speech."""

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import httpx2
import numpy as np
import openai
import pytest
from tests.support.metrics import samples, samples_when
from tests.support.speaking import SPEECH, speak
from tests.support.tts_fixtures import speak as speak_alone

from vibevoice_core.messages import Message, read_message
from vibevoice_proxy.settings import Settings
from vibevoice_tts.models import (
    MODEL_TYPES,
    MODELS,
    ModelConfig,
    WeightsMissing,
    choose_models,
    routes,
)
from vibevoice_tts.protocol import request_message
from vibevoice_tts.speech_model import Samples, SpeechModel, SpeechRequest, Turn
from vibevoice_tts.trimming import PassageAudio
from vibevoice_tts.worker import Worker, load_model

pytest_plugins = ("tests.support.speech_fixtures",)

TEXT = "hello there, this is a test of it."
LOUDEST_DIFFERENCE = 8
"""Allowed difference between a batch and a single request, in 16-bit steps: 2e-4."""


@pytest.fixture(scope="module")
def models(models_folder: Path) -> dict[str, SpeechModel]:
    """The same models in this process, by the names that clients use."""
    cards = routes(choose_models("both", models_folder))
    return {
        name: load_model(
            ModelConfig(
                cards[name].kind,
                **cards[name].folders(models_folder),
                device="cpu",
                dtype="float32",
            )
        )
        for name in ("tts-1", "tts-1-hd")
    }


def pcm(samples: Samples) -> np.ndarray:
    """Samples as in `response_format=pcm`."""
    return np.clip(np.round(samples * 32767), -32768, 32767)


def heard(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<i2").astype(np.float64)


def alone(speech_model: SpeechModel, turns: list[tuple[str, str]], seed: int) -> np.ndarray:
    """The expected audio of a request: the model's chunks, trimmed and faded as one passage."""
    request = SpeechRequest(tuple(Turn(*turn) for turn in turns), seed=seed, steps=2)
    passage = PassageAudio(speech_model.sample_rate)
    chunks = [passage.feed(chunk) for chunk in speak_alone(speech_model, request).chunks]
    return pcm(np.concatenate([*chunks, passage.finish()]))


def assert_same(answer: httpx2.Response, expected: np.ndarray) -> None:
    assert answer.status_code == 200, answer.text
    audio = heard(answer.content)
    assert audio.size == expected.size
    assert np.abs(audio - expected).max() <= LOUDEST_DIFFERENCE
    assert np.abs(audio).max() > 1000


@pytest.mark.parametrize("model", ["tts-1", "tts-1-hd"])
def test_a_model_speaks_through_its_worker(
    models_http: httpx2.Client, models: dict[str, SpeechModel], model: str
) -> None:
    """The response is what the model generates for the text, the voice and the seed."""
    answer = speak(models_http, model=model, input=TEXT, voice="small", seed=3)
    assert_same(answer, alone(models[model], [(TEXT, "en-Small_man")], 3))


@pytest.mark.parametrize("model", ["tts-1", "tts-1-hd"])
@pytest.mark.parametrize("response_format", ["mp3", "opus", "aac", "flac", "wav"])
def test_the_official_client_gets_every_format(
    models_client: openai.OpenAI, model: str, response_format: Any
) -> None:
    """Every format is as long as the plain samples, within 60 ms."""
    plain, other = (
        models_client.audio.speech.create(
            model=model,
            voice="alloy",
            input=TEXT,
            response_format=wanted,
            extra_body={"seed": 3, "steps": 2},
        )
        for wanted in ("pcm", response_format)
    )
    with av.open(io.BytesIO(other.content), "r") as container:
        seconds = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert seconds == pytest.approx(len(plain.content) / 2 / 24000, abs=0.06)


@pytest.mark.parametrize("model", ["tts-1", "tts-1-hd"])
def test_events_carry_the_same_audio(models_http: httpx2.Client, model: str) -> None:
    """stream_format=sse: the concatenated deltas equal the plain response."""
    plain = speak(models_http, model=model, input=TEXT, seed=3).content
    answer = speak(models_http, model=model, input=TEXT, seed=3, stream_format="sse")
    lines = [line for line in answer.text.split("\n\n") if line]
    *deltas, done = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert len(deltas) > 3
    audio = b"".join(base64.b64decode(event["audio"]) for event in deltas)
    assert heard(audio).tolist() == heard(plain).tolist()
    assert done["usage"]["input_tokens"] == 8


def test_each_model_has_its_voices(models_http: httpx2.Client) -> None:
    """The list says which voices each tiny model has."""
    for model, name in (("tts-1", "vibevoice-realtime-0.5b"), ("tts-1-hd", "vibevoice-1.5b")):
        voices = models_http.get("/v1/audio/voices", params={"model": model}).json()["voices"]
        own = [voice for voice in voices if voice["object"] == "voice"]
        assert [voice["id"] for voice in own] == ["en-Small_man", "en-Tiny_woman"]
        assert all(voice["models"] == [name] for voice in own)


@pytest.mark.parametrize("model", ["tts-1", "tts-1-hd"])
def test_voices_and_seeds_decide(models_http: httpx2.Client, model: str) -> None:
    """Only another voice or another seed changes the audio."""
    asked = [("tiny", 7), ("tiny", 7), ("small", 7), ("tiny", 0)]
    steps = 5 if model == "tts-1" else 2  # with these, the tiny models stop by themselves
    answers = [
        speak(models_http, model=model, input=TEXT, voice=voice, seed=seed, steps=steps).content
        for voice, seed in asked
    ]
    assert answers[0] == answers[1]
    assert len(set(answers)) == 3


@pytest.mark.parametrize("model", ["tts-1", "tts-1-hd"])
def test_requests_in_one_batch_sound_as_alone(
    models_http: httpx2.Client, models: dict[str, SpeechModel], model: str
) -> None:
    """Six concurrent requests that join and leave while others speak."""
    seeds = [1, 3, 5, 8, 10, 11]
    expected = [alone(models[model], [(TEXT, "en-Small_man")], seed) for seed in seeds]
    with ThreadPoolExecutor(6) as pool:
        answers = pool.map(
            lambda seed: speak(models_http, model=model, input=TEXT, voice="small", seed=seed),
            seeds,
        )
        for answer, audio in zip(answers, expected, strict=True):
            assert_same(answer, audio)


def test_two_speakers_share_a_script(
    models_http: httpx2.Client, models: dict[str, SpeechModel]
) -> None:
    """With the 1.5B model, each line of a script is a turn in its speaker's voice."""
    answer = speak(
        models_http,
        input="Ann: hello there.\nBob: this is a test.\nAnn: of it.",
        speakers={"Ann": "tiny", "Bob": "small"},
        seed=2,
    )
    turns = [
        ("hello there.", "en-Tiny_woman"),
        ("this is a test.", "en-Small_man"),
        ("of it.", "en-Tiny_woman"),
    ]
    assert_same(answer, alone(models["tts-1-hd"], turns, 2))


class _Said:
    """Records what the worker writes to its pipe."""

    def __init__(self) -> None:
        self._data = io.BytesIO()

    def write(self, data: bytes) -> int:
        return self._data.write(data)

    def messages(self) -> list[Message]:
        """The messages since the last call."""
        data, self._data = self._data, io.BytesIO()
        data.seek(0)
        found = []
        while (message := read_message(data)) is not None:
            found.append(message)
        return found


@pytest.mark.parametrize("model", ["tts-1", "tts-1-hd"])
def test_a_cancelled_request_makes_no_further_frame(
    models: dict[str, SpeechModel], model: str
) -> None:
    """The turn after a cancel only has frames of the other requests."""
    said = _Said()
    worker = Worker(models[model], cast(BinaryIO, said))
    request = SpeechRequest((Turn(TEXT, "small"),), seed=3, steps=2)
    commands = {0: [request_message(1, request), request_message(2, request)], 4: [cancel(1)]}
    chunks = {1: 0, 2: 0}
    before: dict[int, int] = {}
    for turn in range(8):
        if turn == 4:
            before = dict(chunks)
        worker.turn(commands.get(turn, []))
        for message in said.messages():
            if message.kind == "chunk":
                chunks[message.fields["id"]] += 1
    worker.turn([cancel(2)])
    assert models[model].step() == []
    assert chunks[1] == before[1] > 0
    assert chunks[2] > before[2]


def cancel(number: int) -> Message:
    return Message("cancel", {"id": number})


def test_a_client_that_hangs_up_ends_its_speech(
    models_http: httpx2.Client, models_url: str
) -> None:
    """Only a few of forty passages have been spoken when the slot is free again: no more than the
    connection buffers, however slow the client is."""
    passages = ("vibevoice_speech_real_time_factor_count", "vibevoice-1.5b")
    before = samples(models_http).get(passages, 0)
    text = "this is a test of it, and it goes on and on until nobody listens any more. " * 3000
    body = {"model": "tts-1-hd", "input": text[:49_000], "voice": "small", "seed": 1, "steps": 2}
    body["response_format"] = "pcm"
    with httpx2.stream("POST", f"{models_url}{SPEECH}", json=body, timeout=120) as answer:
        assert answer.status_code == 200
        next(answer.iter_bytes())
    state = [(f"vibevoice_speech_{name}", "vibevoice-1.5b") for name in ("in_flight", "waiting")]
    after = samples_when(models_http, lambda found: not any(found[key] for key in state))
    assert after.get(passages, 0) - before < 20


@pytest.mark.parametrize(
    ("model_type", "names"),
    [
        pytest.param("auto", ["vibevoice-realtime-0.5b", "vibevoice-1.5b"], id="auto"),
        pytest.param("both", ["vibevoice-realtime-0.5b", "vibevoice-1.5b"], id="both"),
        pytest.param("1.5b", ["vibevoice-1.5b"], id="one"),
        pytest.param("hibari", ["hibari"], id="hibari"),
        pytest.param("espeak", ["espeak"], id="espeak"),
        pytest.param("off", [], id="off"),
    ],
)
def test_setting_chooses_the_models(models_folder: Path, model_type: str, names: list[str]) -> None:
    """Every value selects the right models; the first one is the default."""
    assert [card.name for card in choose_models(model_type, models_folder)] == names


@pytest.mark.parametrize("folder", [Path("/nowhere"), None], ids=["empty", "none"])
def test_packages_speak_where_there_are_no_weights(folder: Path | None) -> None:
    """The natural voice, with espeak as its fallback."""
    assert [card.name for card in choose_models("auto", folder)] == ["hibari", "espeak"]
    with pytest.raises(WeightsMissing, match="VibeVoice-Realtime-0.5B in MODEL_DIR"):
        choose_models("both", folder)


@pytest.mark.parametrize("package", ["hibari", "onnxruntime"])
def test_espeak_is_the_last_resort(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Only espeak is used if the natural voice is not installed; requesting that one by name is
    then an error."""
    monkeypatch.setattr("vibevoice_tts.models.find_spec", lambda name: name != package or None)
    assert [card.name for card in choose_models("auto", None)] == ["espeak"]
    with pytest.raises(WeightsMissing, match="packages hibari and onnxruntime"):
        choose_models("hibari", None)


def test_unknown_setting_is_refused_with_the_list() -> None:
    """The message lists all valid values."""
    with pytest.raises(ValueError, match="0.5b, 1.5b, hibari, espeak, both, off") as refused:
        choose_models("7b", None)
    assert all(model_type in str(refused.value) for model_type in MODEL_TYPES)


@pytest.mark.parametrize(
    ("served", "fast", "hd"),
    [
        pytest.param(["realtime", "longform"], "realtime", "longform", id="both"),
        pytest.param(["realtime"], "realtime", "realtime", id="realtime"),
        pytest.param(["longform"], "longform", "longform", id="longform"),
        pytest.param(["hibari", "espeak"], "hibari", "hibari", id="hibari"),
        pytest.param(["espeak"], "espeak", "espeak", id="espeak"),
    ],
)
def test_openai_names_mean_a_served_model(served: list[str], fast: str, hd: str) -> None:
    """OpenAI's fast models map to our fast model and its high-quality models to the 1.5B model; if
    that model is not served, they map to the first one served."""
    cards = tuple(card for card in MODELS if card.kind in served)
    found = routes(cards)
    assert list(found)[: len(cards)] == [card.name for card in cards]
    assert {found[name].kind for name in ("tts-1", "gpt-4o-mini-tts")} == {fast}
    assert {found[name].kind for name in ("tts-1-hd", "tts-1-hd-1106")} == {hd}
    assert routes(()) == {}


def test_flash_attention_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """flash_attention_2 is not silently replaced; the message lists the alternatives."""
    monkeypatch.setenv("ATTN_IMPLEMENTATION", "flash_attention_2")
    with pytest.raises(ValueError, match="'sdpa' or 'eager'"):
        Settings()
