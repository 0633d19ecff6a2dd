"""The wheel in empty environments: the proxy, the batch client, the live client, and the engine.

Tests marked `release` run by `make release`: they use every Python version on this machine, and the
engine. With RELEASE_PYTHONS=all, a missing version is an error.
"""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import soundfile
from scripts.demo import mistakes
from scripts.environments import UV, bare, environment, output
from scripts.stack import ROOT, free_port
from tests.support.engine import TINY
from tests.support.processes import running

from vibevoice_light.models import MOONSHINE_FOLDER

SAMPLE = ROOT / "samples" / "conversation.flac"
SECONDS = 8.7
"""The sample's first two turns."""
TRUTH = json.loads(SAMPLE.with_suffix(".json").read_text())["segments"][:2]
CLASSIFIERS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
VERSIONS = [c.rpartition(" ")[2] for c in CLASSIFIERS if ":: Python :: 3." in c]
CURRENT = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(version, marks=[] if version == CURRENT else pytest.mark.release)
        for version in VERSIONS
    ],
)
def python(request: pytest.FixtureRequest) -> str:
    """An interpreter of each version that is installed here."""
    version: str = request.param
    command = [UV, "python", "find", "--no-python-downloads", "--no-project", version]
    found = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    if found.returncode:
        missing = f"no Python {version} on this machine"
        if os.environ.get("RELEASE_PYTHONS") == "all":
            pytest.fail(missing)
        pytest.skip(missing)
    return found.stdout.strip()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people, one sentence each."""
    samples, rate = soundfile.read(SAMPLE)
    file = tmp_path_factory.mktemp("recording") / "talk.flac"
    soundfile.write(file, samples[: round(SECONDS * rate)], rate)
    return file


@pytest.fixture(scope="module")
def commands(python: str, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with the proxy's extra."""
    return environment(tmp_path_factory.mktemp("commands") / "venv", wheel, "proxy", python)


@pytest.fixture(scope="module")
def proxy_url(commands: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A proxy with the light recognizer and without an engine."""
    folder = tmp_path_factory.mktemp("proxy")
    url = f"http://127.0.0.1:{(port := free_port())}"
    environ = bare(
        API_PORT=str(port),
        ASR_API="off",
        VIBEVOICE_LIGHT="on",
        VIBEVOICE_LIGHT_MODELS=str(MOONSHINE_FOLDER),
    )
    argv, log = [commands / "vibevoice-proxy"], folder / "log"
    with running("the proxy", argv, f"{url}/health", log, 120, environ=environ, cwd=folder):
        yield url


def test_the_proxy_transcribes_and_speaks(proxy_url: str, recording: Path) -> None:
    """The proxy works with nothing else installed, and serves its page."""
    with recording.open("rb") as audio:
        answer = httpx2.post(
            f"{proxy_url}/v1/audio/transcriptions",
            files={"file": audio},
            data={"model": "whisper-1", "response_format": "diarized_json"},
            timeout=120,
        )
    assert mistakes(TRUTH, answer.raise_for_status().json()["segments"]) == []

    body = {"model": "tts-1", "input": "Hello from the wheel.", "voice": "alloy"}
    speech = httpx2.post(f"{proxy_url}/v1/audio/speech", json=body, timeout=120)
    assert (speech.status_code, speech.headers["x-vibevoice-model"]) == (200, "hibari")
    assert len(speech.content) > 5000
    page = httpx2.get(proxy_url, headers={"accept": "text/html"}, timeout=60)
    assert "<!doctype html>" in page.text.lower()


def test_the_batch_client_transcribes(
    proxy_url: str, recording: Path, python: str, wheel: Path, tmp_path: Path
) -> None:
    """It writes subtitles and JSON."""
    command = environment(tmp_path / "venv", wheel, "batch", python) / "vibevoice-transcribe"
    formats = ("--format", "json,srt")
    ran = output(command, recording, *formats, cwd=tmp_path, VIBEVOICE_BASE_URL=proxy_url)
    assert ran.returncode == 0, ran.stderr
    written = json.loads((tmp_path / "transcripts" / "talk.flac.json").read_text())
    assert mistakes(TRUTH, written["segments"]) == []
    assert (tmp_path / "transcripts" / "talk.flac.srt").read_text().startswith("1\n")


def test_the_live_client_shows_captions(
    proxy_url: str, recording: Path, python: str, wheel: Path, tmp_path: Path
) -> None:
    """It transcribes a file faster than real time."""
    command = environment(tmp_path / "venv", wheel, "live", python) / "vibevoice-live"
    ran = output(command, recording, "--fast", cwd=tmp_path, VIBEVOICE_BASE_URL=proxy_url)
    assert ran.returncode == 0, ran.stderr
    assert "B: He was not an ill-disposed young man." in ran.stdout


def test_a_speech_model_names_its_extra(commands: Path, tmp_path: Path) -> None:
    """The proxy's extra contains no torch."""
    weights = ROOT / "tests" / "data" / "tts-realtime"
    config = json.dumps({"kind": "realtime", "folder": str(weights)})
    worker = output(commands / "python", "-m", "vibevoice_tts.worker", config, cwd=tmp_path)
    assert worker.returncode == 1 and "Traceback" not in worker.stderr
    needed = "vibevoice-realtime-0.5b needs the Python package torch"
    assert f"{needed}: pip install 'vibevoice-serving[tts]'" in worker.stdout


@pytest.mark.release
def test_the_engine_transcribes(wheel: Path, tmp_path: Path) -> None:
    """vLLM finds the plugin and the chat template of the wheel."""
    commands = environment(tmp_path / "venv", wheel, "cpu")
    check = output(commands / "vibevoice-prepare", "--check", TINY, cwd=tmp_path)
    assert check.stdout == f"{TINY} is ready to be served\n"

    url = f"http://127.0.0.1:{(port := free_port())}"
    argv = [commands / "vibevoice-engine", "--model-dir", TINY, "--port", str(port)]
    flags = ["--max-num-seqs", "8", "--cpu-kvcache-gib", "1"]
    log = tmp_path / "log"
    with running("the engine", [*argv, *flags], f"{url}/health", log, 600, environ=bare()):
        with (ROOT / "samples" / "two-speakers.wav").open("rb") as audio:
            answer = httpx2.post(
                f"{url}/v1/audio/transcriptions",
                files={"file": audio},
                data={"model": "vibevoice", "response_format": "diarized_json"},
                timeout=120,
            )
    truth = json.loads((ROOT / "samples" / "two-speakers.json").read_text())["segments"]
    found = [segment["text"] for segment in answer.raise_for_status().json()["segments"]]
    assert found == [segment["text"] for segment in truth]
