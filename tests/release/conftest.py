"""The files of a release, built once."""

import os
from pathlib import Path

import pytest
from scripts.environments import ROOT, uv


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel built from it: RELEASE_DIST, or a new one."""
    if existing := os.environ.get("RELEASE_DIST"):
        return ROOT / existing
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--quiet", "--out-dir", folder)
    return folder


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    """The wheel."""
    [file] = dist.glob("*.whl")
    return file
