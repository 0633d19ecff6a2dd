"""Starts the ASR engine: `python -m vibevoice_vllm.launch --model-dir models/VibeVoice-ASR`.

Settings come from flags, else from the environment, else from their defaults; `--dry-run` prints
the command that they make. Arguments after `--` go to vLLM as they are.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from vibevoice_vllm.checkpoint import HUB_ID, CheckpointError, problems
from vibevoice_vllm.command import Device, engine_command
from vibevoice_vllm.settings import LaunchSettings, describe_launch_settings
from vibevoice_vllm.supervise import EngineError, supervise


def find_device(asked: Literal["auto", "gpu", "cpu"]) -> Device:
    """The device asked for; for auto, gpu if nvidia-smi answers."""
    if asked != "auto":
        return asked
    if (nvidia_smi := shutil.which("nvidia-smi")) is None:
        return "cpu"
    found = subprocess.run([nvidia_smi, "-L"], capture_output=True, timeout=60, check=False)
    return "gpu" if found.returncode == 0 and b"GPU" in found.stdout else "cpu"


def find_model(model_dir: str) -> str:
    """The served folder meant by `--model-dir`; a hub id is prepared first.

    Raises:
        CheckpointError: there is none, or something is missing in it.
    """
    if not model_dir:
        raise CheckpointError(
            "no model given: set --model-dir or MODEL_DIR to a folder, or to a hub id such as "
            "microsoft/VibeVoice-ASR"
        )
    folder = served_folder(model_dir)
    if not Path(model_dir).is_dir():
        # The hub's client takes a second to import and only downloads need it.
        from vibevoice_vllm.prepare import prepare

        prepare(model_dir, folder)
    if found := problems(folder):
        raise CheckpointError(f"{folder} cannot be served: " + "; ".join(found))
    return str(folder)


def served_folder(model_dir: str) -> Path:
    """Where `find_model` finds the model, or brings it."""
    folder = Path(model_dir)
    if not folder.is_dir() and HUB_ID.fullmatch(model_dir):
        return Path("models") / folder.name
    if not (folder / "config.json").exists() and (folder / "VibeVoice-ASR").is_dir():
        return folder / "VibeVoice-ASR"
    return folder


def _parse(arguments: list[str]) -> tuple[LaunchSettings, bool, list[str]]:
    """Settings, whether it is a dry run, and the arguments for vLLM.

    Raises:
        ValidationError: a value is of the wrong type or out of its range.
    """
    parser = argparse.ArgumentParser(
        prog="start_asr_server.sh",
        description="Start the ASR engine. Arguments after -- go to vLLM as they are.",
    )
    fields = LaunchSettings.model_fields.values()
    for field, described in zip(fields, describe_launch_settings(), strict=True):
        flag, variable, default, description = described
        shown = f" [{default}]" if default else ""
        parser.add_argument(
            flag,
            default=argparse.SUPPRESS,
            action=argparse.BooleanOptionalAction if "bool" in str(field.annotation) else "store",
            help=f"{description.rstrip('.')}{shown} ({variable})",
        )
    parser.add_argument("--dry-run", action="store_true", help="print the command and stop")
    split = arguments.index("--") if "--" in arguments else len(arguments)
    given = vars(parser.parse_args(arguments[:split]))
    dry_run = given.pop("dry_run")
    return LaunchSettings(**given), dry_run, arguments[split + 1 :]


def main(arguments: list[str] | None = None) -> int:
    try:
        settings, dry_run, extra = _parse(sys.argv[1:] if arguments is None else arguments)
    except ValidationError as error:
        for problem in error.errors():
            name = ".".join(str(part) for part in problem["loc"])
            print(f"{name}: {problem['msg']}, got {problem['input']!r}", file=sys.stderr)
        return 2
    try:
        if settings.model_dir or not dry_run:
            find = served_folder if dry_run else find_model
            settings = settings.model_copy(update={"model_dir": str(find(settings.model_dir))})
        command = engine_command(settings, find_device(settings.device), os.environ, extra)
        if dry_run:
            print(command)
            return 0
        environ = {**os.environ, **command.env}
        return supervise(
            command.argv,
            environ,
            settings.host,
            settings.port,
            settings.wait_ready_secs,
            settings.shutdown_timeout,
        )
    except (CheckpointError, EngineError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
