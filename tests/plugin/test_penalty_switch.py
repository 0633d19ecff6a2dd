"""The operator's switch for the penalties, with the real engine and real speech."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.engine import TINY, start_engine
from tests.support.recordings import wav
from training.tiny_asr.espeak import Synthesizer, Voice

from vibevoice_core.penalties import Penalties
from vibevoice_core.prompt import user_text

pytestmark = pytest.mark.engine

SAID = 8
"""How often the word occurs in the recording; with the penalties, the last one is lost."""
HARD = Penalties(frequency=2.0, presence=2.0, repetition=2.0)


@pytest.fixture(scope="module")
def speech() -> NDArray[np.float32]:
    """One word repeated several times, with half a second of silence before and after."""
    voice = Voice("en-us", "f2", words_per_minute=140, pitch=45, pitch_range=50)
    said = Synthesizer().say(["seven"] * SAID, voice)
    assert said
    silence = np.zeros(12_000, np.float32)
    samples = np.concatenate([silence, said.samples / 2, silence])
    return samples.astype(np.float32)


@pytest.fixture(scope="module")
def off_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An engine whose operator has turned the penalties off."""
    with start_engine(TINY, tmp_path_factory.mktemp("off") / "log", penalties="off") as url:
        yield url


def transcript(url: str, samples: NDArray[np.float32], **values: Any) -> str:
    """The model's answer."""
    audio = "data:audio/wav;base64," + base64.b64encode(wav(samples, subtype="FLOAT")).decode()
    content = [
        {"type": "audio_url", "audio_url": {"url": audio}},
        {"type": "text", "text": user_text(len(samples) / 24_000)},
    ]
    body = {"model": "vibevoice", "messages": [{"role": "user", "content": content}], **values}
    answer = httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=300)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def test_off_is_off_and_on_is_on(
    engine_url: str, off_url: str, speech: NDArray[np.float32]
) -> None:
    """Without penalties, every spoken word is written; with them, the last repetition is not."""
    assert transcript(off_url, speech).count("seven") == SAID
    assert transcript(engine_url, speech).count("seven") < SAID


def test_callers_cannot_switch(engine_url: str, off_url: str, speech: NDArray[np.float32]) -> None:
    """Neither vLLM's own parameters nor those of the processor turn them on; sampling is not
    possible either."""
    harder = {
        "vllm_xargs": HARD.as_xargs(),
        "frequency_penalty": 2.0,
        "repetition_penalty": 2.0,
        "temperature": 1.5,
    }
    for url in (engine_url, off_url):
        assert transcript(url, speech, **harder) == transcript(url, speech)
