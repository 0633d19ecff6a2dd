"""Fixtures that several test modules share."""

from collections.abc import Iterator

import pytest
from tests.support.engine import TINY, start_engine

_IMPORTS_OF_VLLM = "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"
"""Importing vLLM's scheduler makes torch warn about torch itself."""

_DIFFUSERS = "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
"""diffusers' scheduler makes arrays of tensors in a way that NumPy 2 warns about."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", _IMPORTS_OF_VLLM)
    config.addinivalue_line("filterwarnings", _DIFFUSERS)


@pytest.fixture(scope="session")
def engine_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of one engine for the whole session, serving the embedded checkpoint."""
    with start_engine(TINY, tmp_path_factory.mktemp("engine") / "log") as url:
        yield url
