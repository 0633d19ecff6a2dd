"""Fixtures that several test modules share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.engine import TINY, start_engine

_FOLDER = Path(__file__).parent

_IMPORTS_OF_VLLM = "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"
"""Importing vLLM's scheduler makes torch warn about torch itself."""

_DIFFUSERS = "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
"""diffusers' scheduler makes arrays of tensors in a way that NumPy 2 warns about."""


_THREADS = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
"""Tests, engines and workers share the cores. Threads of PyTorch wait for each other in a loop,
which makes a model of tests/data 50 times as slow when another process runs on one of two cores;
and every engine would bind its thread to the same core."""


def pytest_configure(config: pytest.Config) -> None:
    for name, value in _THREADS.items():
        os.environ.setdefault(name, value)
    config.addinivalue_line("filterwarnings", _IMPORTS_OF_VLLM)
    config.addinivalue_line("filterwarnings", _DIFFUSERS)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `pytest --dist loadgroup`: the tests of a file run in one process, and those of all files
    that need an engine in the same one, because an engine takes 4 GB."""
    with_engine = {item.path for item in items if item.get_closest_marker("engine")}
    for item in items:
        group = "engine" if item.path in with_engine else str(item.path.relative_to(_FOLDER))
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def engine_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of one engine for the whole session, serving the embedded checkpoint."""
    with start_engine(TINY, tmp_path_factory.mktemp("engine") / "log") as url:
        yield url
