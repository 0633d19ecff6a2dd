"""Writes docs/reference/settings.md and .env.example: `make settings`.

A test compares both files with this script's output, so they always match the code.
"""

import textwrap
from collections.abc import Iterable, Sequence

from scripts.stack import ROOT
from vibevoice_proxy.settings_table import describe_settings
from vibevoice_vllm.settings import describe_launch_settings, describe_plugin_settings

REFERENCE = ROOT / "docs" / "reference" / "settings.md"
EXAMPLE = ROOT / ".env.example"


def reference() -> str:
    """The text of docs/reference/settings.md."""
    proxy = [(_code(name), _code(default), text) for name, default, text in describe_settings()]
    flags = [
        (_code(flag), _code(name), _code(default), text)
        for flag, name, default, text in describe_launch_settings()
    ]
    plugin = [
        (_code(name), _code(default), text) for name, default, text in describe_plugin_settings()
    ]
    return "\n".join(
        [
            "# Settings",
            "",
            "All settings of the proxy, the engine, and the engine's plugin. `make settings`",
            "generates this page from the docstrings of the settings; do not edit it.",
            "",
            "## Proxy",
            "",
            "Set these as environment variables, or in a file `.env` in the folder where you start",
            "the proxy (copy lines from `.env.example`). The environment overrides the file.",
            "`vibevoice-proxy --help` prints this list, too.",
            "",
            *_table(("variable", "default", "meaning"), proxy),
            "",
            "## Engine",
            "",
            "Flags of `vibevoice-engine`. Each has an environment variable, which the",
            "flag overrides. Arguments after `--` are passed to vLLM unchanged. The engine does",
            "not read `.env`, but `make serve` passes its variables on.",
            "",
            *_table(("flag", "variable", "default", "meaning"), flags),
            "",
            "## Engine's plugin",
            "",
            "Environment variables read by every process of the engine.",
            "",
            *_table(("variable", "default", "meaning"), plugin),
            "",
        ]
    )


def example() -> str:
    """The text of .env.example."""
    paragraphs = []
    for name, default, text in describe_settings():
        comment = textwrap.fill(
            " ".join(text.split()), 98, initial_indent="# ", subsequent_indent="# "
        )
        paragraphs.append(f"{comment}\n{name}={default}\n")
    return "\n".join(paragraphs)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(' '.join(cell.split()) for cell in cells)} |" for cells in lines]


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def main() -> None:
    REFERENCE.write_text(reference())
    EXAMPLE.write_text(example())


if __name__ == "__main__":
    main()
