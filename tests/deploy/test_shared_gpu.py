"""Memory that the engine reserves for speech models on the same GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.shared_gpu import VARIABLE, with_reserve
from scripts.stack import ROOT, free_port


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of models, on a machine that appears to have a GPU."""
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for name in ("VibeVoice-Realtime-0.5B", "VibeVoice-1.5B"):
        (tmp_path / "models" / name).mkdir(parents=True)
    return str(tmp_path / "models")


@pytest.mark.parametrize(
    ("environ", "reserved"),
    [
        ({}, "13"),
        ({"TTS_MODEL_TYPE": "0.5b"}, "5"),
        ({"TTS_MODEL_TYPE": "off"}, None),
        ({"VIBEVOICE_TTS_DEVICE": "cuda:1"}, None),
        ({"VIBEVOICE_TTS_DEVICE": "cuda:0"}, "13"),
        ({"VIBEVOICE_DEVICE": "cpu"}, None),
        ({VARIABLE: "20"}, "20"),
        ({"MODEL_DIR": ""}, None),
        ({"MODEL_DIR": "microsoft/VibeVoice-ASR"}, None),
    ],
)
def test_reserve(environ: dict[str, str], reserved: str | None, models: str) -> None:
    """The engine reserves memory for the models that the proxy loads on the same GPU, unless a
    value is set."""
    made = with_reserve({"MODEL_DIR": models, **environ})
    assert made.get(VARIABLE) == reserved


def test_no_gpu_no_reserve(models: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU, no memory is reserved."""
    monkeypatch.setenv("PATH", str(Path(models) / "nothing"))
    assert VARIABLE not in with_reserve({"MODEL_DIR": models})


SERVE = """
import sys, vibevoice_vllm.gpu
vibevoice_vllm.gpu._SECONDS = float(sys.argv[1])
from scripts.serve import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("smi", "seconds", "speech", "said"),
    [
        pytest.param("echo 'GPU 0: NVIDIA H100'", "60", "2b", "TTS_MODEL_TYPE", id="no such model"),
        pytest.param(
            "exec sleep 30", "0.5", "0.5b", "did not respond within 0.5 s", id="no response"
        ),
    ],
)
def test_serve_says_in_a_line_why_it_does_not_start(
    smi: str, seconds: str, speech: str, said: str, models: str
) -> None:
    """The output is one line without a traceback, and nothing is started."""
    (Path(models).parent / "nvidia-smi").write_text(f"#!/bin/sh\n{smi}\n")
    environ = {n: v for n, v in os.environ.items() if not n.startswith("VIBEVOICE_")}
    environ |= {"MODEL_DIR": models, "TTS_MODEL_TYPE": speech}
    environ |= {"API_PORT": "0", "ASR_PORT": str(free_port())}
    ran = subprocess.run(
        [sys.executable, "-c", SERVE, seconds],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert line.startswith("serve: ") and said in line
