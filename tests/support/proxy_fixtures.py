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
from starlette.types import Receive, Scope, Send
from tests.support.fakes import FakeEngine, StartProxy, serve

from vibevoice_proxy.app import create_app
from vibevoice_proxy.http_protocol import HttpProtocol
from vibevoice_proxy.settings import Settings


class _Engines:
    """Serves one fake engine after the other at the same address. Requests that a test leaves
    behind stay with its engine."""

    def __init__(self) -> None:
        self._app = FakeEngine().app()

    def replace(self) -> FakeEngine:
        """Serve a new engine from now on."""
        engine = FakeEngine()
        self._app = engine.app()
        return engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


@pytest.fixture(scope="session")
def _engines() -> _Engines:
    return _Engines()


@pytest.fixture(scope="session")
def fake_engine_url(_engines: _Engines) -> Iterator[str]:
    """The base URL of the fake engine behind every proxy here."""
    with serve(_engines) as url:
        yield url


@pytest.fixture(scope="session")
def _default_proxy(fake_engine_url: str) -> Iterator[str]:
    settings = Settings(asr_base_url=fake_engine_url, tts_model_type="off")
    with serve(create_app(settings), protocol=HttpProtocol) as url:
        yield url


@pytest.fixture
def fake_engine(_engines: _Engines) -> FakeEngine:
    """The fake engine behind every proxy here, a new one for each test."""
    return _engines.replace()


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
