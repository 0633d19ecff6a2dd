"""What README and .env.example say is what the code does."""

import re
from pathlib import Path

import pytest

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings, describe_settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def table(heading: str) -> dict[str, list[str]]:
    """First column (without backticks) → other columns, of the table under a README heading."""
    section = README.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [
        [cell.strip() for cell in line.strip()[1:-1].split("|")]
        for line in section.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("` "): row[1:] for row in rows}


def written(settings: list[tuple[str, str, str]]) -> dict[str, list[str]]:
    """Settings as rows of a README table."""
    return {
        name: [f"`{default}`" if default else "", " ".join(description.split())]
        for name, default, description in settings
    }


def test_proxy_settings_table_is_complete() -> None:
    """Every setting is in the table with its default and description, and nothing else is."""
    assert table("Settings of the proxy") == written(describe_settings())


def test_plugin_settings_table_is_complete() -> None:
    """The same for the engine's plugin."""
    config = pytest.importorskip("vibevoice_vllm.config")
    middleware = pytest.importorskip("vibevoice_vllm.middleware")
    fields = {
        **config.PluginSettings.model_fields,
        **middleware.DecodingSettings.model_fields,
    }
    settings: list[tuple[str, str, str]] = []
    for name, field in fields.items():
        default = field.default
        shown = str(default).lower() if isinstance(default, bool) else f"{default}"
        description = " ".join((field.description or "").split())
        settings.append((f"VIBEVOICE_{name.upper()}", shown.removesuffix(".0"), description))
    assert table("Settings of the engine's plugin") == written(settings)


def test_env_example_is_complete() -> None:
    """.env.example names every setting with its default."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    matches = (re.match(r"([A-Z_]+)=(.*)", line) for line in lines)
    example = {match[1]: match[2] for match in matches if match}
    assert example == {name: default for name, default, _ in describe_settings()}


def test_endpoints_table_is_complete() -> None:
    """Every route that is in the OpenAPI schema is in the README."""
    documented = set(table("Endpoints"))
    schema = create_app(Settings()).openapi()
    served = {
        f"{method.upper()} {path}" for path, item in schema["paths"].items() for method in item
    }
    assert documented == served


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^\$ make ([\w-]+)", README, re.M))))
def test_make_commands_exist(command: str) -> None:
    """A `make` command in the README is a target of the Makefile."""
    assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(), re.M)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([\w./-]+)\)", README))))
def test_links_lead_somewhere(path: str) -> None:
    """A relative link in the README is a file of the repository."""
    assert (ROOT / path).exists()
