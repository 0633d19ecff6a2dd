"""Settings of the engine that `bench.gpu` compares, and where a run finds the model."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.stack import ROOT

from bench.asr_tokenizer import write_tokenizer
from vibevoice_vllm.launch import find_model
from vibevoice_vllm.prepare import prepare
from vibevoice_vllm.settings import describe_launch_settings, describe_plugin_settings

ON_CPU = {
    "VIBEVOICE_DEVICE": "cpu",
    "ASR_DTYPE": "bfloat16",
    "VIBEVOICE_MAX_MODEL_LEN": "8192",
    "BATCH_SIZE": "8",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}
"""What a rehearsal sets, so that it needs little memory."""


class Unavailable(Exception):
    """A setting cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Setting:
    """How an engine is started, beside its defaults."""

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)

    def require(self) -> None:
        """
        Raises:
            Unavailable: the engine has no such setting.
        """
        known = {variable for _, variable, _, _ in describe_launch_settings()}
        known |= {variable for variable, _, _ in describe_plugin_settings()}
        if unknown := sorted(self.variables.keys() - known):
            raise Unavailable(f"the engine has no setting {', '.join(unknown)}")


DEFAULT = Setting("default")
SETTINGS = (
    Setting("encoders in bfloat16", {"VIBEVOICE_ENCODER_DTYPE": "bfloat16"}),
    Setting("encoders in float32", {"VIBEVOICE_ENCODER_DTYPE": "float32"}),
    Setting("no CUDA graphs", {"VIBEVOICE_ENFORCE_EAGER": "true"}),
    Setting("penalties off", {"VIBEVOICE_PENALTIES": "off"}),
    Setting("conservative", {"VIBEVOICE_CONSERVATIVE": "true"}),
    Setting("fp8", {"VIBEVOICE_QUANTIZATION": "fp8"}),
)
"""One of them may be the default; then both figures tell how much they scatter."""


def microsoft(python: str) -> Setting:
    """Microsoft's plugin in an environment of its own.

    Raises:
        Unavailable: there is none.
    """
    if not python:
        raise Unavailable("no environment that has it was given by --microsoft-python")
    variables = {"VIBEVOICE_PLUGIN": "microsoft", "VIBEVOICE_PYTHON": python}
    return Setting("Microsoft's plugin", variables)


def chosen(names: list[str]) -> Iterator[Setting]:
    """Those of `SETTINGS` that are asked for."""
    return (setting for setting in SETTINGS if setting.name in names)


@dataclass(frozen=True)
class Model:
    """A served folder."""

    folder: Path
    weights: str
    """What they are, in words."""
    published: bool


def find(model: str, folder: Path, layers: int) -> Model:
    """The published model that `model` names (a folder or a hub id); with none, one of the same
    size with random weights, made in `folder` unless it is there.

    Raises:
        CheckpointError: `model` cannot be served.
    """
    if model:
        served = Path(find_model(model))
        return Model(served, f"those of {served.name}", True)
    base, source, served = folder / "tokenizer", folder / "original", folder / "served"
    if not base.exists():
        base.mkdir(parents=True)
        write_tokenizer(base)
    if not (source / "model.safetensors.index.json").exists():
        command = [sys.executable, "-m", "bench.asr_checkpoint", str(source)]
        subprocess.run([*command, "--layers", str(layers)], cwd=ROOT, check=True)
    prepare(str(source), served, str(base))
    some = f", {layers} of the language model's layers" if layers else ""
    return Model(served, f"random, of the published size{some}: only speed counts", False)
