"""The arguments of the command line."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from vibevoice_batch.outputs import FORMATS

_ABOUT = """Transcribe folders of recordings with any server that speaks OpenAI's audio API in
diarized_json: the proxy of this project, or LiteLLM before it. Run the same command again to go on
after an interruption; nothing that was answered is asked for again."""
_MORE = """Commands for vLLM's offline run-batch, with the same inputs and options:
  vibevoice-transcribe write-batch --requests requests.jsonl INPUT ... -o FOLDER
  vibevoice-transcribe read-batch --results results.jsonl INPUT ... -o FOLDER

Environment: VIBEVOICE_BASE_URL, VIBEVOICE_API_KEY.
Exit codes: 0 all transcribed, 1 some failed or are left, 2 wrong usage, 130 interrupted."""


def parser(command: str, environ: Mapping[str, str]) -> argparse.ArgumentParser:
    """The parser of a command: `write-batch`, `read-batch`, or nothing for transcribing online."""
    arguments = argparse.ArgumentParser(
        prog=f"vibevoice-transcribe {command}".rstrip(),
        description=_ABOUT,
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = arguments.add_argument
    add("input", nargs="*", help="file, folder, glob, or - for a manifest on stdin")
    add(
        "--manifest",
        action="append",
        default=[],
        metavar="FILE",
        help="paths, one a line, or JSON lines with path, language, prompt, hotwords, keywords",
    )
    add(
        "-o",
        "--output",
        type=Path,
        default=Path("transcripts"),
        metavar="FOLDER",
        help="where transcripts go (transcripts)",
    )
    add(
        "--format",
        type=_formats,
        default=("json",),
        metavar="NAMES",
        help=f"files for each recording: {','.join(FORMATS)} (json)",
    )
    add("--base", type=Path, metavar="FOLDER", help="what the transcripts' names are relative to")
    add("--all-files", action="store_true", help="take files in folders whatever their extension")
    add("--limit", type=_count, metavar="N", help="no more than the next N recordings")
    add(
        "--retry-failed",
        action="store_true",
        help="ask again for recordings that the server refused",
    )
    add("--dry-run", action="store_true", help="say what there is to do and stop")
    for name in ("language", "prompt", "hotwords"):
        add(f"--{name}", default="", help="sent with every recording")
    if command != "read-batch":
        default = "vibevoice" if command else "whisper-1"
        add("--model", default=default, help=f"name of the model or model group ({default})")
    if command == "write-batch":
        add("--requests", type=Path, required=True, metavar="FILE", help="file for run-batch -i")
    elif command == "read-batch":
        add(
            "--results",
            type=Path,
            required=True,
            action="append",
            metavar="FILE",
            help="file that run-batch -o wrote",
        )
    else:
        url = environ.get("VIBEVOICE_BASE_URL") or "http://127.0.0.1:8899/v1"
        add("--base-url", default=url, metavar="URL", help=f"of the server ({url})")
        add("--concurrency", type=_count, metavar="N", help="requests at once (found by trying)")
        add(
            "--timeout",
            type=float,
            default=7200,
            metavar="SECONDS",
            help="that one answer may take (7200)",
        )
        add(
            "--patience",
            type=float,
            default=600,
            metavar="SECONDS",
            help="to wait for a server that is full or away (600)",
        )
    return arguments


def _formats(names: str) -> tuple[str, ...]:
    formats = tuple(filter(None, (name.strip() for name in names.split(","))))
    if not formats or not set(formats) <= set(FORMATS):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(FORMATS)}, got {names!r}")
    return formats


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {text!r}")
    return int(text)
