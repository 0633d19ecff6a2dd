"""The client before a proxy, and recordings for it.

A test module gets the proxy by `pytest_plugins = ("tests.support.proxy_fixtures",)`.
"""

from pathlib import Path

import pytest
from tests.support.batch_client import Batch, noise
from tests.support.fakes import StartProxy


@pytest.fixture
def batch(start_proxy: StartProxy, tmp_path: Path) -> Batch:
    """The client before a proxy with default settings."""
    return Batch(tmp_path / "transcripts", start_proxy())


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder of five: two of the same content, one that is no audio, one in a folder."""
    folder = tmp_path / "recordings"
    (folder / "inner").mkdir(parents=True)
    for number, name in enumerate(("a.wav", "b.wav", "inner/c.wav")):
        (folder / name).write_bytes(noise(0.5 + number / 10))
    (folder / "same.wav").write_bytes((folder / "a.wav").read_bytes())
    (folder / "bad.mp3").write_bytes(b"no audio")
    return folder
