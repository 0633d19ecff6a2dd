"""The start script with the real engine, on a prepared folder in the original layout."""

import base64
import io
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import psutil
import pytest
import soundfile
from scripts.stack import answers, free_port
from tests.support.original_layout import export_original
from tests.support.processes import running, wait_for

from vibevoice_vllm.prepare import prepare

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "tiny-asr"
REQUEST = (
    "This is a 2.00 seconds audio, please transcribe it with these keys: "
    "Start time, End time, Speaker ID, Content"
)
WARM = {"temperature": 1.5, "top_p": 0.9, "frequency_penalty": 2, "repetition_penalty": 2}

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def audio() -> bytes:
    """Two seconds of noise as WAV."""
    file, rng = io.BytesIO(), np.random.default_rng(0)
    soundfile.write(file, rng.standard_normal(48_000) * 0.1, 24_000, format="WAV")
    return file.getvalue()


@pytest.fixture(scope="module")
def engine(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    """The script's process, the engine's address, and the script's log."""
    folder = tmp_path_factory.mktemp("engine")
    export_original(MODEL, folder / "original")
    prepare(str(folder / "original"), folder / "VibeVoice-ASR", str(MODEL))
    port, log = free_port(), folder / "log"
    url = f"http://127.0.0.1:{port}"
    script = ROOT / "scripts" / "start_asr_server.sh"
    environ = {**os.environ, "MODEL_DIR": str(folder), "VIBEVOICE_WAIT_READY_SECS": "500"}
    argv = [script, "--port", str(port), "--device", "cpu"]
    with running("the engine", argv, f"{url}/health", log, 500, environ=environ) as process:
        wait_for(lambda: b"the engine is ready" in log.read_bytes())
        yield process, url, log


def test_pinned_for_json(engine: tuple, audio: bytes) -> None:
    """A caller's temperature and penalties have no effect on a chat completion."""
    url = "data:audio/wav;base64," + base64.b64encode(audio).decode()
    parts = [
        {"type": "text", "text": REQUEST},
        {"type": "audio_url", "audio_url": {"url": url}},
    ]
    body = {"model": "vibevoice", "messages": [{"role": "user", "content": parts}]}
    answers = set()
    for values in ({}, WARM, {**WARM, "seed": 1}, {**WARM, "vllm_xargs": {"a": 1}}):
        answer = httpx2.post(
            f"{engine[1]}/v1/chat/completions",
            json={**body, "max_tokens": 40, **values},
            timeout=300,
        )
        assert answer.status_code == 200, answer.text
        answers.add(answer.json()["choices"][0]["message"]["content"])
    assert len(answers) == 1


def test_pinned_for_forms(engine: tuple, audio: bytes) -> None:
    """A caller's sampling parameters have no effect on a transcription either."""
    answers = set()
    for values in ({}, {**WARM, "temperature": 1.0}, {**WARM, "temperature": 0.8, "seed": 1}):
        answer = httpx2.post(
            f"{engine[1]}/v1/audio/transcriptions",
            data={"max_completion_tokens": "40", **{k: str(v) for k, v in values.items()}},
            files={"file": ("a.wav", audio)},
            timeout=300,
        )
        assert answer.status_code == 200, answer.text
        answers.add(json.dumps(answer.json()))
    assert len(answers) == 1


def test_the_engines_death_ends_the_script(engine: tuple) -> None:
    """If its core is killed, the script exits too, with the reason and a nonzero exit code."""
    process, url, log = engine
    core = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "EngineCore" in child.name() or "EngineCore" in " ".join(child.cmdline())
    ]
    assert core
    core[0].send_signal(signal.SIGKILL)
    assert process.wait(120) == 1
    assert not answers(f"{url}/health")
    assert "the engine ended with exit code" in log.read_text()
