"""The light recognizer behind the proxy: every format, streams, confidence, routing by name."""

import base64
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from tests.support.fakes import FakeEngine, StartProxy
from tests.support.metrics import samples_when
from tests.support.processes import wait_for
from tests.support.real_voices import RATE, conversation, librivox, prompts
from tests.support.recordings import wav
from tests.support.wording import errors, words
from tests.support.workers import LIGHT, newest_worker

from vibevoice_light import Ended, ModelFilesMissing, Said, Segment, Stopped, find_moonshine
from vibevoice_proxy.live import MissingPart, TurnEnded
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.transcription.light_turns import LightTurns

pytest_plugins = ("tests.support.proxy_fixtures",)

TRANSCRIPTIONS = "/v1/audio/transcriptions"
FOLDER = os.environ.get("VIBEVOICE_LIGHT_MODELS", "")


@pytest.fixture(scope="module")
def talk() -> tuple[bytes, list[str]]:
    """Six turns of two real women as a WAV file, and their words."""
    long = [prompt for prompt in prompts() if 3 < prompt.seconds < 7]
    turns = [
        turn
        for number, sentence in enumerate(librivox()[:3])
        for turn in (("prompts", long[3 * number]), ("librivox", sentence))
    ]
    samples, spoken = conversation(turns, 0.6)
    return wav(samples, RATE), [turn.text for turn in spoken]


@pytest.fixture
def light(start_proxy: StartProxy) -> Iterator[httpx2.Client]:
    """A proxy with a fake engine, whose light recognizer is ready."""
    try:
        find_moonshine(FOLDER)
    except ModelFilesMissing as error:
        pytest.skip(str(error))
    base = start_proxy(light="on", light_models=FOLDER, light_workers=1)
    with httpx2.Client(base_url=base, timeout=120) as http:
        wait_until_ready(http)
        yield http


def wait_until_ready(http: httpx2.Client) -> None:
    wait_for(lambda: http.get("/health").json()["parts"]["light"] == "ok", 300)


def post(http: httpx2.Client, audio: bytes, **fields: Any) -> httpx2.Response:
    return http.post(TRANSCRIPTIONS, files={"file": ("talk", audio)}, data=fields)


def test_every_format(light: httpx2.Client, talk: tuple[bytes, list[str]]) -> None:
    """Every format has the same transcript: words, two speakers, ordered times, and measured
    confidence."""
    audio, texts = talk
    reference = words(" ".join(texts))
    answers = {
        name: post(light, audio, model="whisper-1", response_format=name)
        for name in ("json", "text", "verbose_json", "diarized_json", "srt", "vtt")
    }
    assert {answer.status_code for answer in answers.values()} == {200}
    verbose = answers["verbose_json"].json()
    assert errors(reference, words(verbose["text"])) <= 0.1 * len(reference)
    assert answers["json"].json()["text"] == verbose["text"] == answers["text"].text.strip()
    assert verbose["language"] == "english"
    for segment in verbose["segments"]:
        assert -1 <= segment["avg_logprob"] < 0
        assert 0 < segment["no_speech_prob"] < 0.5
        assert 0.3 < segment["compression_ratio"] < 2.4
    diarized = answers["diarized_json"].json()["segments"]
    changes = [
        part["speaker"]
        for number, part in enumerate(diarized)
        if not number or diarized[number - 1]["speaker"] != part["speaker"]
    ]
    assert changes == ["A", "B"] * 3
    starts = [part["start"] for part in diarized]
    assert starts == sorted(starts)
    assert "-->" in answers["srt"].text and answers["vtt"].text.startswith("WEBVTT")


def test_a_known_speaker_has_her_name(light: httpx2.Client, talk: tuple[bytes, list[str]]) -> None:
    """Names are found by voice, in the recognizer's own processes."""
    reference = next(prompt for prompt in prompts() if 7 < prompt.seconds < 10)
    data = base64.b64encode(wav(reference.samples, RATE)).decode()
    found = post(
        light,
        talk[0],
        response_format="diarized_json",
        **{
            "known_speaker_names[]": "Allison",
            "known_speaker_references[]": f"data:audio/wav;base64,{data}",
        },
    ).json()
    assert {one["speaker"]: one["known"] for one in found["speakers"]} == {
        "Allison": True, "A": False,
    }  # fmt: skip
    assert found["segments"][0]["speaker"] == "Allison"
    assert found["segments"][-1]["speaker"] == "A"


def test_streams_and_log_probabilities(light: httpx2.Client, talk: tuple[bytes, list[str]]) -> None:
    """The official client gets deltas that make up the text, with a probability for each token."""
    client = openai.OpenAI(base_url=f"{light.base_url}/v1", api_key="none")
    whole = client.audio.transcriptions.create(
        model="gpt-4o-transcribe", file=talk[0], response_format="json", include=["logprobs"]
    )
    assert whole.logprobs
    assert "".join(part.token or "" for part in whole.logprobs).split() == whole.text.split()
    assert all(part.logprob is not None and part.logprob <= 0 for part in whole.logprobs)
    events = list(
        client.audio.transcriptions.create(
            model="gpt-4o-transcribe",
            file=talk[0],
            response_format="json",
            include=["logprobs"],
            stream=True,
        )
    )
    deltas = [event for event in events if event.type == "transcript.text.delta"]
    assert len(deltas) > 3
    assert "".join(event.delta for event in deltas) == whole.text
    assert all(event.logprobs for event in deltas)
    done = events[-1]
    assert done.type == "transcript.text.done" and done.text == whole.text


def test_what_is_no_speech_is_an_empty_transcript(light: httpx2.Client) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 5 * RATE).astype(np.float32)
    answer = post(light, wav(noise, RATE), response_format="verbose_json").json()
    assert answer["text"] == "" and answer["segments"] == []


def test_speech_that_is_not_understood_is_missing(
    light: httpx2.Client, talk: tuple[bytes, list[str]]
) -> None:
    """For English and Italian, the response says which part has no transcript, and why."""
    english = [prompt for prompt in prompts() if 3 < prompt.seconds < 7][:2]
    italian = [prompt for prompt in prompts("it_IT_m_Carlo") if 3 < prompt.seconds < 6][:4]
    turns = [("A", english[0]), *(("B", one) for one in italian), ("A", english[1])]
    samples, spoken = conversation(turns, 1.0)
    answer = post(light, wav(samples, RATE), response_format="verbose_json")
    missing = answer.json()["missing"]
    assert {part["reason"] for part in missing} == {"unclear"}
    assert all(spoken[0].end - 1 < part["start"] < spoken[-1].start for part in missing)
    assert "unclear" in answer.headers["x-vibevoice-truncated"]


def test_names_go_where_they_belong(
    light: httpx2.Client, fake_engine: FakeEngine, talk: tuple[bytes, list[str]]
) -> None:
    """OpenAI's names and an empty name select the light recognizer, `vibevoice` and its variants
    the engine; the listings show both."""
    listed = [model["id"] for model in light.get("/v1/models").json()["data"]]
    assert listed[:2] == ["light", "vibevoice"]
    assert {"whisper-1", "vibevoice-asr"} < set(listed)
    assert light.get("/health").json()["parts"] == {"proxy": "ok", "light": "ok", "asr": "ok"}
    audio = talk[0]
    for name in ("light", "whisper-1", ""):
        answer = post(light, audio, model=name).raise_for_status()
        assert answer.headers["x-vibevoice-model"] == "light"
    assert not fake_engine.requests
    for name in ("vibevoice", "vibevoice-asr"):
        answer = post(light, audio, model=name).raise_for_status()
        assert answer.headers["x-vibevoice-model"] == "vibevoice"
    assert len(fake_engine.requests) == 2


def test_another_language_is_refused(light: httpx2.Client, talk: tuple[bytes, list[str]]) -> None:
    """English is accepted under any of its names, and if it is one of several possible
    languages."""
    for language in ("en", "EN-us", "english"):
        post(light, talk[0], language=language).raise_for_status()
    mixed = post(light, talk[0], languages="fr,en", response_format="verbose_json")
    assert (mixed.status_code, mixed.json()["language"]) == (200, "english")
    assert post(light, talk[0], languages="fr,de").status_code == 400
    answer = post(light, talk[0], language="de")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == ("language", "unsupported_language")
    assert "only supports English, not 'de'. Use the model vibevoice." in error["message"]


def test_a_model_that_is_switched_off_is_not_found(
    start_proxy: StartProxy, talk: tuple[bytes, list[str]]
) -> None:
    """Neither model takes over requests for the other."""
    base = start_proxy(light="off")
    with httpx2.Client(base_url=base, timeout=30) as http:
        assert post(http, talk[0], model="light").status_code == 404
        assert post(http, talk[0], model="whisper-1").status_code == 200


@pytest.mark.parametrize(
    "settings", [{"asr_api": "off"}, {"model_dir": "models/tiny-asr"}, {"asr_base_url": ""}]
)
def test_a_model_for_other_languages_is_not_invented(
    settings: dict[str, str], start_proxy: StartProxy, talk: tuple[bytes, list[str]]
) -> None:
    """Without an engine there is none, and the embedded checkpoint only recognizes digits."""
    base = start_proxy(light="on", light_models=FOLDER, light_workers=1, **settings)
    with httpx2.Client(base_url=base, timeout=60) as http:
        said = post(http, talk[0], language="de").json()["error"]["message"]
    assert said.endswith("not 'de'. This server has no model for other languages.")


def test_no_name_of_the_engine_goes_to_the_light_recognizer(
    start_proxy: StartProxy, talk: tuple[bytes, list[str]]
) -> None:
    """Without an engine, its model names do not exist."""
    base = start_proxy(light="on", light_models=FOLDER, light_workers=1, asr_api="off")
    with httpx2.Client(base_url=base, timeout=60) as http:
        for name in ("vibevoice", "vibevoice-asr"):
            assert post(http, talk[0], model=name).status_code == 404


def test_a_recording_in_another_language_is_missing(light: httpx2.Client) -> None:
    """The whole recording is missing, so the transcript is empty and marked; this is not a server
    error."""
    italian = [prompt for prompt in prompts("it_IT_m_Carlo") if 2 < prompt.seconds < 5][:4]
    samples, _ = conversation([("reader", prompt) for prompt in italian], 2.0)
    answer = post(light, wav(samples, RATE), response_format="verbose_json")
    assert answer.status_code == 200
    assert {part["reason"] for part in answer.json()["missing"]} == {"unclear"}


def test_an_unclear_turn_in_which_the_model_loops_is_unclear() -> None:
    """It has no words, so it is not a transcript whose end is missing."""
    said = Segment(0.0, 2.0, 0, "no no no", (), is_cut=True, speech_probability=0.9)
    unclear = replace(said, is_unclear=True)
    assert (said.missing_reason, unclear.missing_reason) == ("loop", "unclear")
    turns = LightTurns()
    assert turns.translate(Said(1, unclear)) == []
    turns.translate(Stopped(1, 0.0, 2.0, True))
    (ended,) = turns.translate(Ended(1))
    assert isinstance(ended, TurnEnded)
    assert ended.missing == [MissingPart(0.0, 2.0, "unclear")]


def test_noise_takes_no_longer_than_it_may(start_proxy: StartProxy) -> None:
    """The time limit also applies if there is nothing to transcribe."""
    base = start_proxy(light="on", light_models=FOLDER, light_workers=1, transcription_timeout=0.5)
    noise = np.random.default_rng(1).normal(0, 0.1, 900 * RATE).clip(-1, 1).astype(np.float32)
    with httpx2.Client(base_url=base, timeout=60) as http:
        wait_until_ready(http)
        answer = post(http, wav(noise, RATE))
    assert answer.status_code == 504


def test_a_lost_worker_is_an_answer(light: httpx2.Client, talk: tuple[bytes, list[str]]) -> None:
    """The request in that worker gets a 503, and the next one is served. Metrics count it."""
    worker = newest_worker(LIGHT)
    names = ("workers", "workers_ready", "workers_busy", "in_flight", "worker_restarts_total")

    def has(*numbers: int) -> Callable[[dict[tuple[str, ...], float]], bool]:
        keys = [(f"vibevoice_light_{name}",) for name in names]
        return lambda found: [found[key] for key in keys] == list(numbers)

    worker.suspend()
    with ThreadPoolExecutor() as pool:
        posting = pool.submit(post, light, talk[0])
        samples_when(light, has(1, 1, 1, 1, 0))
        worker.kill()
        answer = posting.result()
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "upstream_unavailable"
    assert "retry-after" in answer.headers
    wait_until_ready(light)
    assert post(light, talk[0]).status_code == 200
    samples_when(light, has(1, 1, 0, 0, 1))


@pytest.mark.parametrize(
    ("settings", "size", "is_on"),
    [
        pytest.param({}, None, True, id="nothing-set"),
        pytest.param({"asr_base_url": "http://engine:8006"}, None, False, id="an-engine-named"),
        pytest.param({"asr_api": "off"}, None, False, id="speech-alone"),
        pytest.param({"asr_api": "transcriptions"}, None, False, id="another-server"),
        pytest.param({"model_dir": "microsoft/VibeVoice-ASR"}, None, False, id="hub"),
        pytest.param({}, 1000, True, id="embedded"),
        pytest.param({"asr_base_url": "http://engine:8006"}, 1000, True, id="embedded-engine"),
        pytest.param({}, 2 * 1024**3, False, id="real"),
        pytest.param({"light": "on"}, 2 * 1024**3, True, id="on"),
        pytest.param({"light": "off"}, None, False, id="off"),
    ],
)
def test_auto_looks_at_what_the_engine_has(
    tmp_path: Path, settings: dict[str, Any], size: int | None, is_on: bool
) -> None:
    """With a full-size checkpoint, the engine is used."""
    models = tmp_path / "moonshine"
    models.mkdir()
    for name in ("encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin"):
        (models / name).touch()
    if size is not None:
        folder = tmp_path / "VibeVoice-ASR"
        folder.mkdir()
        with (folder / "model.safetensors").open("wb") as file:
            file.truncate(size)  # sparse file, takes no space
        settings = {"model_dir": str(tmp_path), **settings}
    assert Settings(light_models=str(models), **settings).uses_light == is_on


def test_missing_files_are_told_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy does not start if the light recognizer is on or has its own folder, unless another
    recognizer serves all names."""
    monkeypatch.delenv("VIBEVOICE_LIGHT_MODELS", raising=False)
    monkeypatch.setattr("vibevoice_light.models.MOONSHINE_FOLDER", tmp_path)
    with pytest.raises(ValueError, match="vibevoice-light-models"):
        Settings(light="on")
    wrong = str(tmp_path)
    with pytest.raises(ValueError, match="LIGHT_MODELS.*no Moonshine.*vibevoice-light-models"):
        Settings(light_models=wrong)
    assert not Settings(light_models=wrong, light="off").uses_light
    assert not Settings(light_models=wrong, asr_base_url="http://engine:8006").uses_light


def test_the_engine_may_not_have_its_name() -> None:
    """Its model would take over every request; without the light recognizer, the name is free."""
    with pytest.raises(ValueError, match="SERVED_MODEL_NAME.*VIBEVOICE_LIGHT=off"):
        Settings(served_model_name="light", light_models="")
    assert Settings(served_model_name="light", light="off").served_model_name == "light"


def test_without_its_files_nothing_is_sent_to_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_proxy: StartProxy
) -> None:
    """Requests for its names get 503 with the command, also without a name and in a session;
    /health has the same, and the engine serves its own names."""
    monkeypatch.delenv("VIBEVOICE_LIGHT_MODELS", raising=False)
    monkeypatch.setattr("vibevoice_light.models.MOONSHINE_FOLDER", tmp_path)
    embedded = str(Path(__file__).parents[2] / "models" / "tiny-asr")
    audio = wav(np.zeros(24_000, np.int16))
    with httpx2.Client(base_url=start_proxy(model_dir=embedded), timeout=30) as http:
        for model in ("whisper-1", "light", ""):
            answer = post(http, audio, model=model)
            assert answer.status_code == 503
            assert "Run vibevoice-light-models" in answer.json()["error"]["message"]
        session = {"type": "transcription", "audio": {"input": {}}}
        answer = http.post("/v1/realtime/client_secrets", json={"session": session})
        assert answer.status_code == 503
        health = http.get("/health")
        assert health.status_code == 503
        assert "vibevoice-light-models" in health.json()["parts"]["light"]
        assert health.json()["parts"]["asr"] == "ok"
        assert post(http, audio, model="vibevoice").status_code == 200
