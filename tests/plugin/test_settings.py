"""The settings of the start script and of the plugin, and their descriptions."""

import os
import subprocess
import sys

import pytest

from vibevoice_vllm.launch import main
from vibevoice_vllm.settings import (
    LaunchSettings,
    PluginSettings,
    describe_launch_settings,
    describe_plugin_settings,
)

DESCRIBED = [*(row[1:] for row in describe_launch_settings()), *describe_plugin_settings()]
"""(environment variable, default, description)."""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the shell that runs the tests are ignored."""
    for name, _, _ in DESCRIBED:
        monkeypatch.delenv(name, raising=False)


def test_described_defaults_are_those_in_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Putting every default into the environment as described changes nothing."""
    expected = LaunchSettings(), PluginSettings()
    for name, default, _ in DESCRIBED:
        monkeypatch.setenv(name, default)
    assert (LaunchSettings(), PluginSettings()) == expected


def test_every_setting_is_described() -> None:
    """Every setting has a description."""
    names = [flag.removeprefix("--").replace("-", "_") for flag, *_ in describe_launch_settings()]
    assert names == list(LaunchSettings.model_fields)
    assert len(describe_plugin_settings()) == len(PluginSettings.model_fields)
    assert all(description.endswith(".") for _, _, description in DESCRIBED)


@pytest.mark.parametrize(
    "row",
    [
        ("--port", "ASR_PORT", "8006", "Port on which the engine listens."),
        (
            "--enforce-eager",
            "VIBEVOICE_ENFORCE_EAGER",
            "",
            "Disable compilation and CUDA graphs; empty means only on a CPU or if `conservative`.",
        ),
        (
            "--data-parallel-size",
            "VIBEVOICE_DATA_PARALLEL_SIZE",
            "1",
            "Number of copies of the model (data parallelism).",
        ),
    ],
    ids=lambda row: row[0],
)
def test_launch_settings_are_described(row: tuple[str, str, str, str]) -> None:
    """Flag, variable, default as a user would write it, and description."""
    assert row in describe_launch_settings()


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("VIBEVOICE_ENGINE_AUDIO_SECONDS", "3660"),
        ("VIBEVOICE_DECODE_TIMEOUT", "300"),
        ("VIBEVOICE_WINDOW_SECONDS", "30"),
        ("VIBEVOICE_ENCODER_DTYPE", "float32"),
        ("VIBEVOICE_ACOUSTIC_NOISE", "false"),
        ("VIBEVOICE_WARMER_LIMIT", "0.6"),
    ],
)
def test_plugin_settings_are_described(name: str, default: str) -> None:
    """Variable, and default as a user would write it."""
    assert (name, default) in [row[:2] for row in describe_plugin_settings()]


def test_a_window_is_at_most_two_minutes() -> None:
    """Longer windows exceed a GPU's memory, and eventually the 32-bit counts of its kernels."""
    assert PluginSettings(window_seconds=120).window_tokens(3200) == 900
    with pytest.raises(ValueError, match="less than or equal to 120"):
        PluginSettings(window_seconds=121)


def test_help_has_every_setting(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each setting has its default, its variable, and its description."""
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for flag, variable, default, description in describe_launch_settings():
        default = f" [{default}]" if default else ""
        assert f" {flag}" in shown
        assert f"{' '.join(description.split())[:-1]}{default} ({variable})" in shown


def test_settings_need_no_vllm() -> None:
    """The docs and the start script can read them when only pydantic is installed."""
    code = (
        "import sys, vibevoice_vllm.settings, vibevoice_vllm.launch; "
        "sys.exit(sorted({'vllm', 'torch', 'transformers', 'numpy'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})
