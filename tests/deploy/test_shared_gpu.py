"""Engine and speech models on one GPU: how much the engine leaves."""

import os
from pathlib import Path

import pytest
from scripts.shared_gpu import VARIABLE, with_reserve


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of models, on a machine with a GPU by all appearances."""
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
    """For the models that the proxy loads on the same GPU; a value that is set stays."""
    made = with_reserve({"MODEL_DIR": models, **environ})
    assert made.get(VARIABLE) == reserved


def test_no_gpu_no_reserve(models: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU memory is not divided."""
    monkeypatch.setenv("PATH", str(Path(models) / "nothing"))
    assert VARIABLE not in with_reserve({"MODEL_DIR": models})
