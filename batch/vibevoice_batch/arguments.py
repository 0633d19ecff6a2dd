"""The command-line arguments."""

import argparse
import math
import os
from pathlib import Path

from vibevoice_batch.outputs import FORMATS
from vibevoice_batch.server import DEFAULT_URL
from vibevoice_core.distribution import add_version_option
from vibevoice_core.penalties import Penalties, pinned_penalties

DEFAULT_MODEL = "whisper-1"
"""Model of online requests. If a transcript comes from another model, the journal records that
model's name."""
_ABOUT = """Transcribe folders of recordings with any server that supports diarized_json in OpenAI's
audio API: this project's proxy, or LiteLLM in front of it. After an interruption, run the same
command again: it continues where it stopped and transcribes nothing twice."""
_MORE = """Commands for vLLM's offline run-batch, with the same inputs and options:
  vibevoice-transcribe write-batch --requests requests.jsonl INPUT ... -o FOLDER
  vibevoice-transcribe read-batch --results results.jsonl INPUT ... -o FOLDER

Environment: VIBEVOICE_BASE_URL, VIBEVOICE_API_KEY; HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY;
SSL_CERT_FILE, SSL_CERT_DIR; VIBEVOICE_PENALTIES. Write a name that begins with - as ./-name.
Exit codes: 0 all transcribed, 1 some failed or are left, 2 invalid usage, 130 interrupted."""


def parser(command: str) -> argparse.ArgumentParser:
    """The parser of a command: `write-batch`, `read-batch`, or "" for transcribing online."""
    arguments = argparse.ArgumentParser(
        prog=f"vibevoice-transcribe {command}".rstrip(),
        description=_ABOUT,
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version_option(arguments)
    add = arguments.add_argument
    add("input", nargs="*", type=given, help="file, folder, glob, or - for a manifest on stdin")
    add(
        "--manifest",
        action="append",
        default=[],
        type=given,
        metavar="FILE",
        help="paths, one per line or NUL-terminated, or JSON lines with path, language, prompt, "
        "hotwords, keywords",
    )
    add(
        "-o",
        "--output",
        type=_path,
        default=Path("transcripts"),
        metavar="FOLDER",
        help="folder for transcripts (transcripts)",
    )
    add(
        "--format",
        type=_formats,
        default=("json",),
        metavar="NAMES",
        help=f"output formats: {','.join(FORMATS)} (json)",
    )
    add("--base", type=_path, metavar="FOLDER", help="name transcripts relative to this folder")
    add("--all-files", action="store_true", help="include files of any extension from folders")
    add("--limit", type=_count, metavar="N", help="transcribe at most the next N recordings")
    add(
        "--retry-failed",
        action="store_true",
        help="retry recordings that the server rejected",
    )
    add("--dry-run", action="store_true", help="report what a run would do, and exit")
    for name in ("language", "prompt", "hotwords"):
        add(f"--{name}", default="", help="sent with every recording")
    if command != "read-batch":
        default = "vibevoice" if command else DEFAULT_MODEL
        add(
            "--model",
            default=default,
            type=given,
            help=f"name of the model or model group ({default})",
        )
    if command == "write-batch":
        add("--requests", type=_path, required=True, metavar="FILE", help="file for run-batch -i")
        switch = os.environ.get("VIBEVOICE_PENALTIES") or "on"
        add(
            "--penalties",
            type=_penalties,
            default=switch,
            metavar="on|off",
            help=f"penalties for repeated words ({switch})",
        )
    elif command == "read-batch":
        add(
            "--results",
            type=_path,
            required=True,
            action="append",
            metavar="FILE",
            help="file written by run-batch -o",
        )
    else:
        add(
            "--base-url",
            metavar="URL",
            help=f"base URL of the server (VIBEVOICE_BASE_URL, or else {DEFAULT_URL})",
        )
        add(
            "--speakers",
            type=_path,
            metavar="FOLDER",
            help="recordings of known speakers, 2 to 10 s each, named after them",
        )
        add(
            "--ca-file",
            type=_path,
            metavar="FILE",
            help="certificates (PEM) to trust in addition to the system's",
        )
        add(
            "--concurrency",
            type=_count,
            metavar="N",
            help="number of concurrent requests (automatic)",
        )
        add(
            "--timeout",
            type=_seconds,
            default=7200,
            metavar="SECONDS",
            help="time limit for one response (7200)",
        )
        add(
            "--patience",
            type=_seconds,
            default=600,
            metavar="SECONDS",
            help="how long to wait for a server that is full or unavailable (600)",
        )
    return arguments


def given(text: str) -> str:
    """A value that is not empty. Raises ArgumentTypeError."""
    if not text:
        raise argparse.ArgumentTypeError("expected a value, got nothing: is a variable unset?")
    return text


def _path(text: str) -> Path:
    return Path(given(text))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of seconds, got {text!r}")
    return seconds


def _formats(names: str) -> tuple[str, ...]:
    formats = tuple(dict.fromkeys(filter(None, map(str.strip, names.split(",")))))
    if not formats or not set(formats) <= set(FORMATS):
        raise argparse.ArgumentTypeError(
            f"expected one or more of {','.join(FORMATS)}, got {names!r}"
        )
    return formats


def _penalties(switch: str) -> Penalties:
    try:
        return pinned_penalties(switch)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected on or off, got {switch!r}") from None


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)
