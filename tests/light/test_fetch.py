"""`vibevoice-light-models`, with the real package."""

import os
import subprocess
import sys
from pathlib import Path

from vibevoice_light import find_moonshine

UNREACHABLE = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_RETRIES": "0",
}
LIMITED = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh"]
"""Runs a command that cannot write to files."""


def fetch(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "vibevoice_light.fetch", str(folder)],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_model_is_put_into_a_folder(tmp_path: Path) -> None:
    """With its license. The second time, nothing is downloaded."""
    folder = tmp_path / "models" / "moonshine"
    first = fetch(folder)
    assert (first.returncode, first.stdout) == (0, f"{folder}: Moonshine tiny-en\n"), first.stderr
    assert find_moonshine(str(folder)) == folder
    assert "MIT" in (folder / "LICENSE").read_text()

    assert fetch(folder, **UNREACHABLE).returncode == 0


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Before the download, with what to do."""
    (tmp_path / "file").touch()
    found = fetch(tmp_path / "file" / "models", **UNREACHABLE)
    assert found.returncode == 1
    assert f"{tmp_path}/file/models cannot be written: Not a directory." in found.stderr
    assert "set VIBEVOICE_LIGHT_MODELS" in found.stderr


def test_a_full_temporary_folder_is_not_blamed_on_the_models_folder(tmp_path: Path) -> None:
    """The limit of 0 bytes per file stands for a full disk."""
    command = [*LIMITED, sys.executable, "-m", "vibevoice_light.fetch", str(tmp_path)]
    environ = {**os.environ, **UNREACHABLE}
    found = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "could not be downloaded: [Errno 2] No usable temporary directory" in found.stderr
    assert "cannot be written" not in found.stderr and "Traceback" not in found.stderr


def test_a_failed_download_is_reported(tmp_path: Path) -> None:
    """After pip's own message."""
    found = fetch(tmp_path, **UNREACHABLE)
    assert found.returncode == 1
    assert "moonshine-voice==0.0.73 could not be downloaded" in found.stderr
    assert not list(tmp_path.iterdir())
