"""The wheel's commands if an extra is missing."""

import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from scripts.environments import environment, output
from scripts.stack import ROOT

from vibevoice_core.distribution import needs_extra

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMMANDS = sorted(PROJECT["scripts"])


@pytest.fixture(scope="module")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment without any extra."""
    return environment(tmp_path_factory.mktemp("bare") / "venv", wheel)


def test_every_command_and_the_plugin_are_entry_points(wheel: Path) -> None:
    """vLLM finds the plugin by its entry point."""
    with zipfile.ZipFile(wheel) as files:
        [name] = [name for name in files.namelist() if name.endswith("/entry_points.txt")]
        found = ConfigParser()
        found.read_string(files.read(name).decode())
    assert sorted(found["console_scripts"]) == COMMANDS
    assert dict(found["vllm.general_plugins"]) == {
        "vibevoice_asr": "vibevoice_vllm.plugin:register"
    }


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        ("vibevoice-proxy", "fastapi", "proxy"),
        ("vibevoice-light-models", "numpy", "proxy"),
        ("vibevoice-prepare", "huggingface_hub", "engine"),
        ("vibevoice-transcribe", "httpx2", "batch"),
        ("vibevoice-live", "rich", "live"),
    ],
)
def test_a_missing_extra_is_named(
    commands: Path, tmp_path: Path, command: str, package: str, extra: str
) -> None:
    """The message is one line, with the command that installs the extra."""
    found = output(commands / command, "--help", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (1, "")
    pip = f"pip install 'vibevoice-serving[{extra}]'"
    assert found.stderr == f"{command} needs the Python package {package}: {pip}\n"


def test_the_engine_names_the_extra_for_each_device(commands: Path, tmp_path: Path) -> None:
    """Its help, its plan, and its version work without vLLM; starting it does not."""
    engine = commands / "vibevoice-engine"
    started = output(engine, "--model-dir", "microsoft/VibeVoice-ASR", cwd=tmp_path)
    assert (started.returncode, started.stdout) == (1, "")
    assert "vLLM is not installed: pip install 'vibevoice-serving[gpu]'" in started.stderr
    assert "'vibevoice-serving[cpu]' --extra-index-url https://" in started.stderr
    assert started.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "nothing is downloaded first"

    version = output(engine, "--version", cwd=tmp_path)
    assert version.stdout == f"vibevoice-engine {PROJECT['version']}\n"
    plan = output(engine, "--dry-run", "--device", "gpu", "--gpu-memory", "24", cwd=tmp_path)
    assert plan.returncode == 0, plan.stderr
    assert f"{commands.parent}/lib" in plan.stdout, "the chat template of the wheel"


def test_the_version_needs_no_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only `--version`; anything else says which extra is missing."""
    for arguments, code, printed in (
        (["--version"], None, f"vibevoice-proxy {PROJECT['version']}\n"),
        (["--help"], "vibevoice-proxy needs the Python package x: pip install", ""),
    ):
        monkeypatch.setattr("sys.argv", ["vibevoice-proxy", *arguments])
        with pytest.raises(SystemExit) as ended, needs_extra("vibevoice-proxy", "proxy"):
            raise ModuleNotFoundError(name="x")
        assert str(ended.value.code).startswith(str(code))
        assert capsys.readouterr().out == printed


def test_a_missing_module_of_this_project_is_a_bug() -> None:
    """The error keeps its traceback, since no extra would help."""
    with pytest.raises(ModuleNotFoundError), needs_extra("vibevoice-proxy", "proxy"):
        raise ModuleNotFoundError(name="vibevoice_core.nothing")
