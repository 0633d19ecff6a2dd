"""A ready proxy with the light recognizer, and real voices."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.fakes import serve
from tests.support.processes import wait_for, wait_until_it_speaks
from tests.support.real_voices import Spoken, conversation, librivox, prompts
from tests.support.realtime import pcm

from vibevoice_light import ModelFilesMissing, find_moonshine
from vibevoice_proxy.app import create_app
from vibevoice_proxy.http_protocol import HttpProtocol
from vibevoice_proxy.settings import Settings

FOLDER = os.environ.get("VIBEVOICE_LIGHT_MODELS", "")


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """The folder of Moonshine's files, downloaded at setup or given by the setting."""
    try:
        return find_moonshine(FOLDER)
    except ModelFilesMissing as error:
        pytest.skip(str(error))


@contextmanager
def light_proxy(**settings: Any) -> Iterator[str]:
    """The base URL of a ready proxy with only the light recognizer."""
    chosen = {"light": "on", "light_models": FOLDER, "light_workers": 1, "asr_api": "off"}
    app = create_app(Settings(**{"tts_model_type": "off", **chosen, **settings}))
    with serve(app, protocol=HttpProtocol) as url:
        wait_for(lambda: httpx2.get(f"{url}/health", timeout=60).status_code == 200, 300)
        yield url


@pytest.fixture(scope="session")
def base(model_folder: Path) -> Iterator[str]:
    """A proxy with default settings."""
    with light_proxy() as url:
        yield url


@pytest.fixture(scope="session")
def talk() -> tuple[bytes, list[Spoken]]:
    """Four turns of two real women as `audio/pcm`, and their words."""
    long = [prompt for prompt in prompts() if 3 < prompt.seconds < 6]
    turns = [
        turn
        for number, sentence in enumerate(librivox()[:2])
        for turn in (("librivox", sentence), ("prompts", long[number]))
    ]
    samples, spoken = conversation(turns, 0.9)
    return pcm(samples), spoken


@pytest.fixture(scope="session")
def speaking(model_folder: Path) -> Iterator[str]:
    """A proxy that transcribes and speaks."""
    with light_proxy(tts_model_type="espeak", tts_max_input_chars=2000) as url:
        wait_until_it_speaks(url, "espeak")
        yield url
