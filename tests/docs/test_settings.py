"""README, docs/reference/settings.md and .env.example describe the settings as in the code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.write_settings import EXAMPLE, REFERENCE, example, reference

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.settings_table import describe_settings
from vibevoice_vllm.settings import LaunchSettings, PluginSettings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
API = (ROOT / "docs" / "reference" / "api.md").read_text()


def table(page: str, heading: str) -> dict[str, list[str]]:
    """First column (without backticks) → other columns, for the table under a heading of `page`."""
    section = page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [
        [cell.strip() for cell in line.strip()[1:-1].split("|")]
        for line in section.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("` "): row[1:] for row in rows}


def test_reference_is_written_from_the_code() -> None:
    """docs/reference/settings.md is what `make settings` writes."""
    assert REFERENCE.read_text() == reference()


def test_env_example_is_written_from_the_code() -> None:
    """.env.example is also what `make settings` writes."""
    assert EXAMPLE.read_text() == example()


@pytest.mark.parametrize(
    ("settings", "heading"),
    [
        pytest.param(Settings, "## Proxy", id="proxy"),
        pytest.param(LaunchSettings, "## Engine", id="engine"),
        pytest.param(PluginSettings, "## Engine's plugin", id="plugin"),
    ],
)
def test_reference_has_every_setting(settings: type[Settings], heading: str) -> None:
    """Every setting has a description."""
    section = reference().split(f"\n{heading}\n", 1)[1].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert len(rows) == len(settings.model_fields)
    assert all(re.search(r"\| [^|]{10,} \|$", row) for row in rows)


def test_readme_has_the_settings_that_matter() -> None:
    """The README has ten settings, with the same text as the reference."""
    proxy = {
        name: [f"`{default}`" if default else "", " ".join(text.split())]
        for name, default, text in describe_settings()
    }
    shown = table(README, "Settings")
    assert len(shown) == 10
    assert shown == {name: proxy[name] for name in shown}


def test_help_prints_the_settings() -> None:
    """`--help` does not start a server, and any other argument is rejected."""
    command = [sys.executable, "-m", "vibevoice_proxy"]
    printed = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    for name, default, _ in describe_settings():
        assert f"\n{name}={default}\n" in printed.stdout
    refused = subprocess.run([*command, "serve"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "unrecognized arguments: serve" in refused.stderr


def test_endpoints_table_is_complete() -> None:
    """Every route in the OpenAPI schema is in the API reference."""
    documented = set(table(API, "Endpoints"))
    schema = create_app(Settings()).openapi()
    served = {
        f"{method.upper()} {path}" for path, item in schema["paths"].items() for method in item
    }
    assert documented == served


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^\$ make ([\w-]+)", README, re.M))))
def test_make_commands_exist(command: str) -> None:
    """Every `make` command in the README is a target in the Makefile."""
    assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(), re.M)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([\w./-]+)\)", README))))
def test_links_lead_somewhere(path: str) -> None:
    """Every relative link in the README points to a file in the repository."""
    assert (ROOT / path).exists()
