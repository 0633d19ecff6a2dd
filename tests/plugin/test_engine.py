"""The plugin in the real engine gives correct answers, whatever other callers send."""

import base64
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import torch
from tests.support.engine import TINY, start_engine
from tests.support.original_layout import export_original
from tests.support.recordings import encoded, gliding_tone, tone, wav
from transformers import (
    Qwen2Tokenizer,
    VibeVoiceAcousticTokenizerFeatureExtractor,
    VibeVoiceAsrForConditionalGeneration,
)

from vibevoice_vllm.prepare import prepare
from vibevoice_vllm.transcription import content, prompt

pytestmark = pytest.mark.engine

TOKENS = 48
SECONDS = [0.05, 1.5, 30.0, 37.3, 95.0]
"""Recordings of one token, up to one window, exactly one, two, and four windows."""


def data_url(data: bytes) -> str:
    return "data:audio/wav;base64," + base64.b64encode(data).decode()


def chat(url: str, parts: list[dict[str, Any]] | str, **values: Any) -> httpx2.Response:
    """A chat completion of one user message."""
    body = {"model": "vibevoice", "messages": [{"role": "user", "content": parts}]}
    values = {"max_tokens": TOKENS, "temperature": 0, "return_token_ids": True, **values}
    return httpx2.post(f"{url}/v1/chat/completions", json={**body, **values}, timeout=600)


def audio_part(data: bytes) -> dict[str, Any]:
    return {"type": "audio_url", "audio_url": {"url": data_url(data)}}


def request_text(seconds: float) -> str:
    """The text part of the model's own prompt."""
    return prompt(seconds).partition("<|AUDIO|>\n")[2].partition("<|im_end|>")[0]


def transcribe(url: str, samples: np.ndarray, **values: Any) -> tuple[list[int], list[int]]:
    """Token ids of the prompt and of the answer for float32 audio at 24 kHz."""
    parts = [
        audio_part(wav(samples, subtype="FLOAT")),
        {"type": "text", "text": request_text(len(samples) / 24_000)},
    ]
    answer = chat(url, parts, **values)
    assert answer.status_code == 200, answer.text
    answer = answer.json()
    return answer["prompt_token_ids"], answer["choices"][0]["token_ids"]


@pytest.fixture(scope="module")
def reference() -> dict[float, tuple[list[int], list[int]]]:
    """What transformers' own `generate` returns for the recordings: prompt and answer tokens."""
    classes: Any = VibeVoiceAsrForConditionalGeneration
    model = classes.from_pretrained(TINY, dtype=torch.float32).eval()
    model.generation_config.max_length = 65_536
    tokenizer = Qwen2Tokenizer.from_pretrained(TINY)
    extractor = VibeVoiceAcousticTokenizerFeatureExtractor()
    found = {}
    for seconds in SECONDS:
        samples = gliding_tone(seconds)
        tokens = -(-len(samples) // 3200)
        text = prompt(len(samples) / 24_000).replace(
            "<|AUDIO|>", f"<|object_ref_start|>{'<|box_start|>' * tokens}<|object_ref_end|>"
        )
        ids = tokenizer(text, return_tensors="pt").input_ids
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=TOKENS,
            do_sample=False,
            **extractor([samples], sampling_rate=24_000),
        )
        found[seconds] = (ids[0].tolist(), output[0, ids.shape[1] :].tolist())
    return found


@pytest.fixture(scope="module", params=["hf", "original"])
def plain_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """An engine without pinned decoding, on either layout of the embedded checkpoint."""
    folder, model = tmp_path_factory.mktemp(request.param), TINY
    if request.param == "original":
        export_original(TINY, folder / "original")
        prepare(str(folder / "original"), folder / "served", str(TINY))
        model = folder / "served"
    with start_engine(model, folder / "log", pinned=False) as url:
        yield url


@pytest.mark.filterwarnings("ignore:`acoustic_tokenizer_chunk_size` is deprecated:FutureWarning")
def test_answers_are_those_of_transformers(
    plain_url: str, reference: dict[float, tuple[list[int], list[int]]]
) -> None:
    """The prompt and the greedy tokens are the same, in both layouts, with one window or more."""
    for seconds in SECONDS:
        assert transcribe(plain_url, gliding_tone(seconds)) == reference[seconds], seconds


def test_concurrent_answers_are_those_alone(engine_url: str) -> None:
    """Recordings that are encoded at the same time do not change each other's answers."""
    samples = [gliding_tone(s) for s in (0.4, 33.0, 1.7, 65.0, 3.1, 34.0, 0.9, 2.2)]
    alone = [transcribe(engine_url, s) for s in samples]
    with ThreadPoolExecutor(len(samples)) as threads:
        together = list(threads.map(lambda s: transcribe(engine_url, s), samples))
    assert together == alone


def test_others_decode_while_a_long_recording_is_encoded(engine_url: str) -> None:
    """Between two of its windows, every other request gets a token."""
    windows, spoken, done = 10, threading.Event(), threading.Event()
    counted = 0

    def talk() -> None:
        nonlocal counted
        body = {
            "model": "vibevoice",
            "messages": [{"role": "user", "content": "x"}],
            "max_tokens": 30_000,
            "ignore_eos": True,
            "stream": True,
        }
        url = f"{engine_url}/v1/chat/completions"
        with httpx2.stream("POST", url, json=body, timeout=600) as events:
            for line in events.iter_lines():
                counted += line.startswith("data:")
                spoken.set()
                if done.is_set():
                    return

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        assert spoken.wait(300)
        before = counted
        transcribe(engine_url, gliding_tone(30.0 * windows), max_tokens=1)
        during = counted - before
    finally:
        done.set()
        thread.join()
    assert during >= windows


NOT_FINITE = gliding_tone(2.0)
NOT_FINITE[77] = np.nan
STEREO = np.stack([gliding_tone(2.0), gliding_tone(2.1)[:48_000]], 1)
REFUSED = {
    "empty": ([audio_part(wav(np.zeros(0, np.float32)))], "empty"),
    "no-bytes": ([audio_part(b"")], "could not be decoded"),
    "garbage": ([audio_part(b"garbage" * 99)], "could not be decoded"),
    "nan": ([audio_part(wav(NOT_FINITE, subtype="FLOAT"))], "not finite"),
    "inf": ([audio_part(wav(NOT_FINITE * np.inf, subtype="FLOAT"))], "not finite"),
    "broken-base64": (
        [{"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,!!"}}],
        "not valid base64",
    ),
    "two-audios": ([audio_part(wav(tone(0.5)))] * 2, "At most 1 audio"),
    "http-url": (
        [{"type": "audio_url", "audio_url": {"url": "http://127.0.0.1:1/a.wav"}}],
        "other URLs are not fetched",
    ),
    "file-url": (
        [{"type": "audio_url", "audio_url": {"url": "file:///etc/passwd"}}],
        "not allowed",
    ),
    "id-alone": ([{"type": "audio_url", "audio_url": None, "uuid": "a"}], "only by id"),
    "62-minutes": (
        [audio_part(wav(np.zeros(62 * 60 * 24_000, np.int16), format="FLAC"))],
        "at most 3660 seconds",
    ),
}
TAKEN = {
    "10-ms": wav(gliding_tone(0.01)),
    "silence": wav(np.zeros(48_000, np.float32)),
    "stereo": wav(STEREO),
    "8-khz": wav(tone(2.0, 8_000), 8_000),
    "192-khz": wav(tone(2.0, 192_000), 192_000),
    "truncated": (whole := wav(gliding_tone(2.0)))[: len(whole) // 2],
    "truncated-flac": (whole := wav(gliding_tone(2.0), format="FLAC"))[: len(whole) // 2],
    "mp3": encoded("mp3", "libmp3lame"),
    "webm": encoded("webm", "libopus"),
}


@pytest.fixture(scope="module")
def usual(engine_url: str) -> tuple[list[int], list[int]]:
    """The engine's answer before any bad request is sent."""
    return transcribe(engine_url, gliding_tone(3.3))


@pytest.mark.parametrize("case", REFUSED)
def test_bad_request_is_refused(
    engine_url: str, usual: tuple[list[int], list[int]], case: str
) -> None:
    """The error is a 400 that says what was expected, and the next answer is unchanged."""
    parts, expected = REFUSED[case]
    answer = chat(engine_url, parts)
    assert answer.status_code == 400, answer.text
    assert expected in answer.json()["error"]["message"]
    assert transcribe(engine_url, gliding_tone(3.3)) == usual


@pytest.mark.parametrize("case", TAKEN)
def test_odd_recording_is_taken(
    engine_url: str, usual: tuple[list[int], list[int]], case: str
) -> None:
    """The recording gets an answer, and the next answer is unchanged."""
    answer = chat(engine_url, [audio_part(TAKEN[case])])
    assert answer.status_code == 200, answer.text
    assert transcribe(engine_url, gliding_tone(3.3)) == usual


def test_chat_without_audio_is_answered(
    engine_url: str, usual: tuple[list[int], list[int]]
) -> None:
    """Text without audio is a chat with the language model."""
    answer = chat(engine_url, "Hello")
    assert answer.status_code == 200, answer.text
    assert transcribe(engine_url, gliding_tone(3.3)) == usual


def test_a_second_placeholder_is_refused(engine_url: str) -> None:
    """A prompt not written by the template cannot claim more audio than it has."""
    body = {
        "model": "vibevoice",
        "chat_template": "<|AUDIO|><|AUDIO|>",
        "messages": [{"role": "user", "content": [audio_part(wav(tone(0.5)))]}],
    }
    answer = httpx2.post(f"{engine_url}/v1/chat/completions", json=body, timeout=60)
    assert 400 <= answer.status_code < 500, answer.text


def test_a_callers_id_names_no_other_recording(engine_url: str) -> None:
    """Two recordings with the same id are still different recordings."""
    first, second = gliding_tone(2.0), gliding_tone(2.5)[:48_000]

    def ask(samples: np.ndarray) -> list[float]:
        part = {**audio_part(wav(samples)), "uuid": "the-same"}
        answer = chat(engine_url, [part], logprobs=True)
        assert answer.status_code == 200, answer.text
        return [t["logprob"] for t in answer.json()["choices"][0]["logprobs"]["content"]]

    assert ask(first) != ask(second)


def form(url: str, samples: np.ndarray, **fields: str) -> httpx2.Response:
    """A request to vLLM's own transcription route."""
    data = {"max_completion_tokens": str(TOKENS), **fields}
    files = {"file": ("a.wav", wav(samples))}
    return httpx2.post(f"{url}/v1/audio/transcriptions", data=data, files=files, timeout=600)


def test_native_transcription_streams_what_it_answers(engine_url: str) -> None:
    """`json` and the deltas of a stream are the same text, without the model's JSON."""
    samples = gliding_tone(4.0)
    text = form(engine_url, samples).json()["text"]
    raw = chat(
        engine_url,
        [audio_part(wav(samples)), {"type": "text", "text": request_text(4.0)}],
    ).json()["choices"][0]["message"]["content"]
    streamed = ""
    for line in form(engine_url, samples, stream="true").text.splitlines():
        if line.startswith("data: {"):
            choices = json.loads(line.removeprefix("data: "))["choices"]
            streamed += "".join(choice["delta"].get("content") or "" for choice in choices)
    assert text == content(raw)
    assert streamed == text


def test_native_transcription_takes_any_language(engine_url: str) -> None:
    """The model does not need a language, so no language is rejected."""
    assert form(engine_url, gliding_tone(1.0), language="tlh").status_code == 200


def test_native_transcription_is_diarized(engine_url: str) -> None:
    """`diarized_json` contains the segments, their times and speakers, and clean text."""
    sample = Path(__file__).parents[2] / "samples" / "two-speakers.wav"
    answer = httpx2.post(
        f"{engine_url}/v1/audio/transcriptions",
        data={"response_format": "diarized_json"},
        files={"file": ("a.wav", sample.read_bytes())},
        timeout=600,
    )
    assert answer.status_code == 200, answer.text
    answer = answer.json()
    assert len({segment["speaker"] for segment in answer["segments"]}) == 2
    assert all(segment["start"] < segment["end"] for segment in answer["segments"])
    assert " ".join(segment["text"] for segment in answer["segments"]) == answer["text"]
    assert "{" not in answer["text"]
