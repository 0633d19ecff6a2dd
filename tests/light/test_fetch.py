"""`vibevoice-light-models`, with the real package."""

from pathlib import Path

import pytest

from vibevoice_light import find_moonshine
from vibevoice_light.fetch import main


def test_the_model_is_put_into_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files include the license. A second run downloads nothing, so a wrong index does not
    matter."""
    folder = tmp_path / "models" / "moonshine"
    assert main([str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}: Moonshine tiny-en\n"
    assert find_moonshine(str(folder)) == folder
    assert "MIT" in (folder / "LICENSE").read_text()

    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert main([str(folder)]) == 0


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says what to do."""
    (tmp_path / "file").touch()
    assert main([str(tmp_path / "file" / "models")]) == 1
    message = capsys.readouterr().err
    assert f"{tmp_path}/file/models cannot be written: Not a directory." in message
    assert "set VIBEVOICE_LIGHT_MODELS" in message


def test_a_failed_download_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip's own message precedes ours."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    assert main([str(tmp_path)]) == 1
    assert "moonshine-voice==0.0.73 could not be downloaded" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
