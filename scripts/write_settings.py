"""Writes the reference of all settings, docs/settings.md, and .env.example: `make settings`.

A test compares both files with what this writes, so they cannot differ from the code.
"""

import textwrap
from collections.abc import Iterable, Sequence

from scripts.stack import ROOT
from vibevoice_proxy.settings_table import describe_settings
from vibevoice_vllm.settings import describe_launch_settings, describe_plugin_settings

REFERENCE = ROOT / "docs" / "settings.md"
EXAMPLE = ROOT / ".env.example"


def reference() -> str:
    """The text of docs/settings.md."""
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
            "This page is written by `make settings` from the code; edit the settings' docstrings.",
            "",
            "## Proxy",
            "",
            "Environment variables, or a file `.env` in the folder where the proxy is started",
            "(copy what you change from `.env.example`); the environment wins.",
            "`python -m vibevoice_proxy --help` prints the same.",
            "",
            *_table(("variable", "default", "meaning"), proxy),
            "",
            "## Engine",
            "",
            "Flags of `scripts/start_asr_server.sh`; each is an environment variable too, and the",
            "flag wins. Arguments after `--` go to vLLM as they are. The engine reads no `.env`.",
            "",
            *_table(("flag", "variable", "default", "meaning"), flags),
            "",
            "## Engine's plugin",
            "",
            "Environment variables that every process of the engine reads.",
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
