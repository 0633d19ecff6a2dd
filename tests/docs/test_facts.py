"""Facts that pages repeat from the code match the code."""

import re

import pytest
from scripts.stack import ROOT
from tests.support.snippets import pages

from vibevoice_core.penalties import PINNED, TEMPERATURE
from vibevoice_core.subtitles import Limits
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.settings_table import describe_settings
from vibevoice_proxy.speech.formats import FASTEST, SLOWEST

TEXTS = {page: (ROOT / page).read_text() for page in pages()}
PACKAGES = {
    "proxy": ["proxy/vibevoice_proxy"],
    "engine": ["serving/vibevoice_vllm"],
    "light": ["proxy/vibevoice_light", "proxy/vibevoice_proxy/transcription"],
    "speech": ["proxy/vibevoice_tts", "proxy/vibevoice_proxy"],
    "realtime": ["proxy/vibevoice_proxy"],
}
"""Folders of the modules in each picture."""
_DEFAULT = re.compile(r"`(VIBEVOICE_[A-Z_]+)` \((\d[\d.,]*)(?: s)?[;)]")
OTHER_DEFAULTS = {("VIBEVOICE_SHUTDOWN_TIMEOUT", "270")}
"""Defaults of the Helm chart, not of the program; tests/deploy/test_helm.py checks the sum."""


def cells(page: str, first: str) -> list[str]:
    """The cells of the table row that begins with `first`."""
    row = re.search(rf"^\| {re.escape(first)} \|(.*)\|$", TEXTS[page], re.M)
    assert row, first
    return [cell.strip() for cell in row[1].split("|")]


def test_pinned_parameters() -> None:
    """The table of docs/background/decoding.md has the values that the engine gets."""
    told = {
        name: float(cells("docs/background/decoding.md", name)[0])
        for name in (
            "temperature",
            "repetition penalty",
            "frequency penalty",
            "presence penalty",
        )
    }
    assert list(told.values()) == [
        TEMPERATURE,
        PINNED.repetition,
        PINNED.frequency,
        PINNED.presence,
    ]


def test_limits_of_subtitles() -> None:
    """The table of docs/guides/subtitles.md has the defaults."""
    limits = Limits()
    told = [
        float(cells("docs/guides/subtitles.md", f"`{name}`")[0])
        for name in ("max_line_width", "max_line_count", "max_cue_seconds")
    ]
    assert told == [limits.line_width, limits.line_count, limits.seconds]


def test_limits_of_recordings() -> None:
    """Several pages say 1 GiB and 8 hours, and 15 s between two comments."""
    settings = Settings()
    assert "8 hours and 1 GiB" in TEXTS["docs/guides/transcribe.md"]
    assert settings.max_upload_bytes == 2**30
    assert settings.max_audio_seconds == 8 * 3600
    assert settings.ping_interval == 15


def test_speed_of_speech() -> None:
    """The range in the table of fields is that of the code."""
    assert f"{SLOWEST:g} to {FASTEST:g};" in cells("docs/reference/api.md", "`speed`")[0]


def test_defaults_of_settings() -> None:
    """A number in parentheses after a setting is its default."""
    defaults = {name: default for name, default, _ in describe_settings()}
    told = {found for text in TEXTS.values() for found in _DEFAULT.findall(text)}
    assert len(told) >= 3
    for name, figure in told - OTHER_DEFAULTS:
        if name in defaults:
            assert float(figure) == float(defaults[name]), name


@pytest.mark.parametrize("name", PACKAGES)
def test_pictures_name_modules(name: str) -> None:
    """Every module in the picture of a process exists."""
    picture = (ROOT / "docs" / "images" / f"process-{name}.svg").read_text()
    lines = re.findall(r'<text class="file"[^>]*>([^<]*)</text>', picture)
    modules = [module for line in lines for module in line.split()]
    assert len(modules) >= 8
    for module in modules:
        assert any((ROOT / folder / module).is_file() for folder in PACKAGES[name]), module
