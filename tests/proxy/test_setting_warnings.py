"""Warnings about settings at startup."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from scripts.stack import ROOT

from vibevoice_proxy.setting_warnings import warnings
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.settings_table import describe_settings
from vibevoice_vllm.settings import describe_launch_settings, describe_plugin_settings

KEYS: dict[str, Any] = {"api_keys": (SecretStr("k"),)}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("VIBEVOICE_API_KEY", "VIBEVOICE_API_KEYS"),
        ("VIBEVOICE_MAX_CONCURENCY", "VIBEVOICE_MAX_CONCURRENCY"),
        ("vibevoice_max_uplod_bytes", "VIBEVOICE_MAX_UPLOAD_BYTES"),
        ("VIBEVOICE_LOG_FROMAT", "VIBEVOICE_LOG_FORMAT"),
    ],
)
def test_a_misspelled_name_is_reported(name: str, meant: str) -> None:
    """The warning names the setting that was probably meant."""
    (warning,) = warnings(Settings(), [name, "PATH"])
    assert warning.startswith(name.upper())
    assert warning.endswith(f" {meant}?")


def test_other_names_are_not_reported() -> None:
    """Neither settings of the proxy and the engine, nor any other variable of this project."""
    names = {name for name, *_ in (*describe_settings(), *describe_plugin_settings())}
    names |= {name for _, name, *_ in describe_launch_settings()}
    for file in [*(ROOT / "docker").glob("*.yml"), *(ROOT / "scripts").iterdir()]:
        if file.is_file():
            names |= set(re.findall(r"\bVIBEVOICE_[A-Z_]+", file.read_text()))
    assert "VIBEVOICE_GPU_MEMORY_UTILIZATION" in names
    assert not warnings(Settings(), names - {"VIBEVOICE_API_KEY"})


def test_the_clients_key_is_fine_on_a_server_with_keys() -> None:
    """The clients may run in the same shell."""
    assert not warnings(Settings(**KEYS), ["VIBEVOICE_API_KEY"])


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        pytest.param({}, False, id="this machine"),
        pytest.param({"api_host": "::1"}, False, id="IPv6"),
        pytest.param({"api_host": "0.0.0.0"}, True, id="all addresses"),
        pytest.param({"api_host": ""}, True, id="all addresses, empty"),
        pytest.param({"api_host": "0.0.0.0", **KEYS}, False, id="with keys"),
        pytest.param({"api_host": "0.0.0.0", "api_keys_file": "f"}, False, id="with a file"),
        pytest.param({"api_host": "0.0.0.0", "api_bind": "127.0.0.1"}, False, id="Compose"),
        pytest.param({"api_host": "0.0.0.0", "api_bind": "0.0.0.0"}, True, id="published"),
        pytest.param({"api_host": "127.0.0.1", "api_bind": "0.0.0.0"}, False, id="not in Compose"),
    ],
)
def test_an_open_server_is_reported(settings: dict[str, Any], warned: bool) -> None:
    """A server that others can reach should have keys."""
    found = warnings(Settings(**settings), [])
    assert [warning for warning in found if "VIBEVOICE_API_KEYS is not set" in warning] == found
    assert bool(found) == warned


def test_warnings_are_logged_at_the_start(tmp_path: Path) -> None:
    """Names in `.env` are read, too; the last setting stops the process before it listens."""
    (tmp_path / ".env").write_text("VIBEVOICE_LOG_LEVL=DEBUG\n")
    environ = {**os.environ, "VIBEVOICE_API_KEY": "k", "API_PORT": "0", "API_HOST": "256.invalid"}
    process = subprocess.run(
        [sys.executable, "-m", "vibevoice_proxy"],
        env=environ,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        check=False,
    )
    assert process.returncode != 0
    for name in ("VIBEVOICE_LOG_LEVL", "VIBEVOICE_API_KEY", "VIBEVOICE_API_KEYS is not set"):
        assert name in process.stderr
