"""The engine settings that `bench.gpu` compares, and the choice of its model."""

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
"""Settings for a rehearsal, with low memory use."""


class Unavailable(Exception):
    """A setting cannot be measured here. The message says why."""


@dataclass(frozen=True)
class Setting:
    """How an engine is started, apart from its defaults."""

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)

    def require(self) -> None:
        """
        Raises:
            Unavailable: the engine does not have this setting.
        """
        known = {variable for _, variable, _, _ in describe_launch_settings()}
        known |= {variable for variable, _, _ in describe_plugin_settings()}
        if unknown := sorted(self.variables.keys() - known):
            raise Unavailable(f"the engine does not have the setting {', '.join(unknown)}")


DEFAULT = Setting("default")
SETTINGS = (
    Setting("encoders in bfloat16", {"VIBEVOICE_ENCODER_DTYPE": "bfloat16"}),
    Setting("encoders in float32", {"VIBEVOICE_ENCODER_DTYPE": "float32"}),
    Setting("no CUDA graphs", {"VIBEVOICE_ENFORCE_EAGER": "true"}),
    Setting("penalties off", {"VIBEVOICE_PENALTIES": "off"}),
    Setting("conservative", {"VIBEVOICE_CONSERVATIVE": "true"}),
    Setting("fp8", {"VIBEVOICE_QUANTIZATION": "fp8"}),
)
"""One of these may be the default; the two results then show how much results vary."""


def microsoft(python: str) -> Setting:
    """Microsoft's plugin, in a separate environment.

    Raises:
        Unavailable: there is no such environment.
    """
    if not python:
        raise Unavailable("--microsoft-python does not name an environment with the plugin")
    variables = {"VIBEVOICE_PLUGIN": "microsoft", "VIBEVOICE_PYTHON": python}
    return Setting("Microsoft's plugin", variables)


def chosen(names: list[str]) -> Iterator[Setting]:
    """The requested ones of `SETTINGS`."""
    return (setting for setting in SETTINGS if setting.name in names)


@dataclass(frozen=True)
class Model:
    """A served folder."""

    folder: Path
    weights: str
    """Description of the weights."""
    published: bool


def find(model: str, folder: Path, layers: int) -> Model:
    """Find the published model `model` (a folder or a hub id). If it is empty, use a model of the
    same size with random weights, which is created in `folder` unless it exists.

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
    return Model(served, f"random, of the published size{some}: only speed is meaningful", False)
