"""Fixtures that several test modules share."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.engine import TINY, start_engine
from tests.support.scheduling import OneEngine

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


@pytest.hookimpl(optionalhook=True)  # there is no pytest-xdist where it is switched off
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneEngine | None:
    """For `--dist loadfile`."""
    return OneEngine(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def engine_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of one engine for the whole session, serving the embedded checkpoint."""
    with start_engine(TINY, tmp_path_factory.mktemp("engine") / "log") as url:
        yield url
