"""The engine transcribes the proxy's speech correctly."""

import io
import random
from collections.abc import Iterator

import jiwer
import openai
import pytest
from tests.support.fakes import serve
from tests.support.processes import wait_until_it_speaks

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VOICES = ("espeak-en-us-man", "espeak-en-us-woman", "espeak-en-us-man-low", "espeak-en-us-girl")

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def client(engine_url: str) -> Iterator[openai.OpenAI]:
    """The official client for a proxy with speech and the real engine."""
    with serve(create_app(Settings(asr_base_url=engine_url, tts_model_type="espeak"))) as url:
        wait_until_it_speaks(url, "espeak")
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=300) as client:
            yield client


def test_digits_spoken_are_digits_heard(client: openai.OpenAI) -> None:
    """Every digit in each of four voices, in random order: 95 % of the words are correct."""
    rng = random.Random(1)
    said, heard = [], []
    for voice in VOICES:
        words = rng.sample(DIGITS, len(DIGITS))
        for text in (" ".join(words[:5]), " ".join(words[5:])):
            speech = client.audio.speech.create(
                model="tts-1", voice=voice, input=text, response_format="mp3"
            )
            upload = ("speech.mp3", io.BytesIO(speech.content))
            transcription = client.audio.transcriptions.create(model="whisper-1", file=upload)
            said.append(text)
            heard.append(transcription.text.lower().replace(".", "").replace(",", ""))
    print(*zip(said, heard, strict=True), sep="\n")
    assert jiwer.wer(said, heard) <= 0.05
