"""Runs the snippets of the documentation as readers would run them.

Every block of bash, Python or JavaScript that contains the address of the proxy or of the engine is
run against real ones, and so is the batch client on the samples. A block of `text` right after it
is the expected output, except for times and token counts, which come from the model.
"""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
import soundfile
from scripts.stack import ROOT, answers
from tests.docs.covered import ELSEWHERE, NOT_RUN
from tests.support.fakes import serve
from tests.support.installing import require_npm
from tests.support.processes import START_SECONDS, wait_for
from tests.support.snippets import (
    ENGINE,
    NPM,
    PROXY,
    Snippet,
    blocks,
    commands,
    pages,
    run,
)

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.settings_table import describe_settings
from vibevoice_vllm.settings import describe_launch_settings, describe_plugin_settings

BATCH = ".venv/bin/vibevoice-transcribe samples"
MIN_SPEECH_SECONDS = 0.2
PEOPLE = {"ann.wav": (0.5, 5.0), "bob.wav": (5.6, 8.4)}
"""Seconds of samples/conversation.flac in which only one person speaks."""
NOT_SETTINGS = {
    "VIBEVOICE_BASE_URL": "batch client and live client",
    "VIBEVOICE_API_KEY": "batch client and live client",
    "VIBEVOICE_FFMPEG_MAX_CONCURRENCY": "Microsoft's plugin",
    "VIBEVOICE_VERSION": "images, set when they are built",
}
"""Variables of other programs."""

_FIGURE = re.compile(r"[\d:]*\d[.,]\d+|(?<=_tokens\": )\d+")


def to_run() -> Iterator[Snippet]:
    """The blocks that are run here."""
    for page in pages():
        for block in blocks(page):
            asks = block.asks_a_server or BATCH in block.code
            if asks and str(block) not in {**ELSEWHERE, **NOT_RUN}:
                yield block


def needs_engine(snippet: Snippet) -> bool:
    """Whether a block's output is that of VibeVoice-ASR with the embedded checkpoint."""
    return (
        snippet.page.startswith(("docs/guides/migrate/", "docs/reference/api.md"))
        or "model=vibevoice" in snippet.code
    )


def without_figures(output: str) -> str:
    """`output` with all times and token counts replaced by placeholders."""
    return _FIGURE.sub("0", output).rstrip()


SNIPPETS = [
    pytest.param(snippet, id=str(snippet), marks=[pytest.mark.engine] * needs_engine(snippet))
    for snippet in to_run()
]


@pytest.fixture(scope="module")
def light_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A proxy as `make serve` starts it, without the engine."""
    settings = Settings(
        asr_api="off",
        light="on",
        light_workers=1,
        speaker_enrollment=True,
        speaker_dir=str(tmp_path_factory.mktemp("speakers")),
    )
    with serve(create_app(settings)) as url:
        wait_for(lambda: answers(f"{url}/health"), START_SECONDS)
        yield url


@pytest.fixture(scope="module")
def engine_proxy_url(engine_url: str) -> Iterator[str]:
    """A proxy with the real engine, ready for transcription and speech."""
    with serve(create_app(Settings(asr_base_url=engine_url, tts_model_type="espeak"))) as url:
        wait_for(lambda: answers(f"{url}/health"), START_SECONDS)
        yield url


@pytest.fixture(scope="module")
def node_modules() -> Path:
    """The JavaScript client."""
    return require_npm(NPM)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with the samples, recordings of two people, and a curl that fails on error
    responses."""
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    samples, rate = soundfile.read(ROOT / "samples" / "conversation.flac")
    for name, (start, end) in PEOPLE.items():
        soundfile.write(tmp_path / name, samples[int(start * rate) : int(end * rate)], rate)
    (tmp_path / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
    return tmp_path


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet_does_what_the_page_says(
    snippet: Snippet, folder: Path, node_modules: Path, request: pytest.FixtureRequest
) -> None:
    """The snippet succeeds and prints the output shown below it; any file it writes is speech."""
    (folder / "node_modules").symlink_to(node_modules)
    code = snippet.code
    if needs_engine(snippet):
        proxy = request.getfixturevalue("engine_proxy_url")
        code = code.replace(ENGINE, request.getfixturevalue("engine_url"))
    else:
        proxy = request.getfixturevalue("light_url")
    environment = {"VIBEVOICE_BASE_URL": proxy, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = run(snippet, code.replace(PROXY, proxy), folder, environment)
    assert done.returncode == 0, done.stdout + done.stderr
    if snippet.output is not None:
        assert without_figures(done.stdout) == without_figures(snippet.output)
    written = list(folder.glob("speech.*"))
    assert bool(written) == ("/audio/speech " in code or "audio.speech." in code)
    for file in written:
        with av.open(file) as container:
            frames = list(container.decode(audio=0))
        assert sum(frame.samples / frame.sample_rate for frame in frames) > MIN_SPEECH_SECONDS


def test_every_language_is_found() -> None:
    """The snippets of the pages are found."""
    languages = {
        page: {snippet.language for snippet in to_run() if snippet.page == page}
        for page in ("README.md", "docs/guides/transcribe.md", "docs/guides/migrate/openai.md")
    }
    assert list(languages.values()) == [
        {"bash", "python"},
        {"bash", "python"},
        {"bash", "python", "javascript"},
    ]


def test_a_terminal_session_is_what_was_typed() -> None:
    """Output is ignored, and the lines of one command are kept together."""
    assert commands("$ a \\\n    b\nprinted\n$ c\n") == "a \\\n    b\nc"


@pytest.mark.parametrize("page", sorted({*pages()} - {"CHANGELOG.md"}))
def test_every_setting_named_is_one(page: str) -> None:
    """Every setting that the page names exists in the proxy or in the engine. (The changelog has
    names of earlier versions.)"""
    named = set(re.findall(r"VIBEVOICE_[A-Z_]*[A-Z]", (ROOT / page).read_text()))
    known = {name for name, _, _ in (*describe_settings(), *describe_plugin_settings())}
    known |= {name for _, name, _, _ in describe_launch_settings()}
    assert named <= known | NOT_SETTINGS.keys()
