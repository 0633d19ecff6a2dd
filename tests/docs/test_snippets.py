"""Runs the snippets of the README and docs/moving-in.md as readers would run them.

Every block of bash, Python or JavaScript that contains the address of the proxy or of the engine is
run against the real ones. A block of `text` right after it is the expected output, except for times
and token counts, which come from the model.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from scripts.stack import ROOT, answers
from tests.support.fakes import serve
from tests.support.installing import require_npm
from tests.support.processes import wait_for
from tests.support.snippets import (
    ENGINE,
    NPM,
    PROXY,
    Snippet,
    commands,
    run,
    snippets,
)

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.settings_table import describe_settings
from vibevoice_vllm.settings import describe_launch_settings, describe_plugin_settings

PAGES = ("README.md", "docs/moving-in.md")
MIN_SPEECH_SECONDS = 0.2

_FIGURE = re.compile(r"[\d:]*\d[.,]\d+|(?<=_tokens\": )\d+")


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
    """The JavaScript client."""
    return require_npm(NPM)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with the samples, and a curl that fails on error responses."""
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    (tmp_path / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
    return tmp_path


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
