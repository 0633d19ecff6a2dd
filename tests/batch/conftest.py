"""The client connected to a proxy, and recordings for it.

A test module gets the proxy with `pytest_plugins = ("tests.support.proxy_fixtures",)`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.batch_client import Batch, noise
from tests.support.fakes import StartProxy
from tests.support.transcribing import Uploads, transcribing


@pytest.fixture
def batch(start_proxy: StartProxy, tmp_path: Path) -> Batch:
    """The client connected to a proxy with default settings."""
    return Batch(tmp_path / "transcripts", start_proxy())


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder of five files: two with the same content, one that is not audio, one in a
    subfolder."""
    folder = tmp_path / "recordings"
    (folder / "inner").mkdir(parents=True)
    for number, name in enumerate(("a.wav", "b.wav", "inner/c.wav")):
        (folder / name).write_bytes(noise(0.5 + number / 10))
    (folder / "same.wav").write_bytes((folder / "a.wav").read_bytes())
    (folder / "bad.mp3").write_bytes(b"no audio")
    return folder


@pytest.fixture
def uploads() -> Uploads:
    """Files uploaded to the server of `calls`."""
    return Uploads()


@pytest.fixture
def calls(tmp_path: Path, uploads: Uploads) -> Iterator[Batch]:
    """The client, in a folder with `calls/a.wav` and `calls/sub/b.mp3`."""
    (tmp_path / "calls" / "sub").mkdir(parents=True)
    (tmp_path / "calls" / "a.wav").write_bytes(b"a")
    (tmp_path / "calls" / "sub" / "b.mp3").write_bytes(b"b")
    with transcribing(uploads) as url:
        batch = Batch("transcripts", url)
        batch.cwd = tmp_path
        yield batch
