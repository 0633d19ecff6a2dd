"""A proxy whose workers use the tiny models of tests/data, for the whole session.

A test module gets it with `pytest_plugins = ("tests.support.speech_fixtures",)`, without importing
this module.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest
from tests.support.fakes import serve
from tests.support.processes import wait_until_it_speaks
from tests.support.speaking import make_models

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="session")
def voice_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where that proxy stores voices."""
    return tmp_path_factory.mktemp("stored")


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `MODEL_DIR` of that proxy."""
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def models_url(models_folder: Path, voice_dir: Path) -> Iterator[str]:
    """The base URL of the proxy, without /v1."""
    settings = Settings(
        asr_base_url=NOWHERE,
        model_dir=str(models_folder),
        tts_model_type="both",
        tts_device="cpu",
        tts_dtype="float32",
        voice_uploads=True,
        voice_dir=str(voice_dir),
        max_voices=5,
    )
    with serve(create_app(settings)) as base:
        wait_until_it_speaks(base, "vibevoice-realtime-0.5b", "vibevoice-1.5b")
        yield base


@pytest.fixture
def models_http(models_url: str) -> Iterator[httpx2.Client]:
    """A plain HTTP client for that proxy."""
    with httpx2.Client(base_url=models_url, timeout=120) as client:
        yield client


@pytest.fixture
def models_client(models_url: str) -> Iterator[openai.OpenAI]:
    """The official client for that proxy."""
    with openai.OpenAI(
        base_url=f"{models_url}/v1", api_key="none", max_retries=0, timeout=120
    ) as client:
        yield client
