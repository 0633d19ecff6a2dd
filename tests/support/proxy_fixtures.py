"""The proxy on a real socket, with a fake engine behind it.

A test module uses these fixtures with `pytest_plugins = ("tests.support.proxy_fixtures",)`, without
importing this module: pytest rewrites a plugin's asserts only if it has not been imported before.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import openai
import pytest
from tests.support.fakes import EngineAddress, FakeEngine, StartProxy, serve

from vibevoice_proxy.app import create_app
from vibevoice_proxy.http_protocol import HttpProtocol
from vibevoice_proxy.settings import Settings


@pytest.fixture(scope="session")
def _engine_server() -> Iterator[tuple[EngineAddress, str]]:
    address = EngineAddress()
    with serve(address) as url:
        yield address, url


@pytest.fixture(scope="session")
def fake_engine_url(_engine_server: tuple[EngineAddress, str]) -> str:
    """The base URL of the fake engine behind every proxy here."""
    return _engine_server[1]


@pytest.fixture(scope="session")
def _default_proxy(fake_engine_url: str) -> Iterator[str]:
    settings = Settings(asr_base_url=fake_engine_url, tts_model_type="off")
    with serve(create_app(settings), protocol=HttpProtocol) as url:
        yield url


@pytest.fixture
def fake_engine(_engine_server: tuple[EngineAddress, str]) -> FakeEngine:
    """The fake engine behind every proxy here, a new one for each test: its responses and recorded
    requests."""
    return _engine_server[0].replace(FakeEngine())


@pytest.fixture
def start_proxy(
    fake_engine: FakeEngine, fake_engine_url: str, _default_proxy: str
) -> Iterator[StartProxy]:
    """Start a proxy with the given settings; returns its base URL without /v1."""
    with ExitStack() as servers:

        def start(**settings: Any) -> str:
            if not settings:
                return _default_proxy
            settings.setdefault("asr_base_url", fake_engine_url)
            settings.setdefault("tts_model_type", "off")
            return servers.enter_context(
                serve(create_app(Settings(**settings)), protocol=HttpProtocol)
            )

        yield start


@pytest.fixture
def http(start_proxy: StartProxy) -> Iterator[httpx2.Client]:
    """A plain HTTP client for a proxy with default settings."""
    with httpx2.Client(base_url=start_proxy(), timeout=30) as client:
        yield client


@pytest.fixture
def openai_client(start_proxy: StartProxy) -> Iterator[openai.OpenAI]:
    """The official client for a proxy with default settings."""
    with openai.OpenAI(base_url=f"{start_proxy()}/v1", api_key="none") as client:
        yield client
