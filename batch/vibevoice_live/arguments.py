"""The arguments of the command line."""

import argparse
import math
from pathlib import Path

from vibevoice_batch.arguments import given
from vibevoice_batch.outputs import FORMATS
from vibevoice_batch.server import DEFAULT_URL
from vibevoice_core.distribution import add_version_option
from vibevoice_live.config import SessionConfig

_ABOUT = """Show live captions with speakers and times. Works with any server that supports OpenAI's
realtime transcription: this project's proxy, LiteLLM in front of it, or OpenAI. Ctrl-C ends the
session and waits for the last words; press it again to quit at once."""
_MORE = """Examples:
  vibevoice-live                        captions of the microphone
  vibevoice-live talk.mp3 -o talk.srt   a file at real-time pace (faster with --fast)
  arecord -t raw -f S16_LE -r 24000 -c 1 | vibevoice-live -

Environment: VIBEVOICE_BASE_URL, VIBEVOICE_API_KEY; HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY;
SSL_CERT_FILE, SSL_CERT_DIR.
Exit codes: 0 all transcribed, 1 some audio has no transcript, 2 invalid usage, 130 interrupted."""


def parser() -> argparse.ArgumentParser:
    """The parser of `vibevoice-live`."""
    arguments = argparse.ArgumentParser(
        prog="vibevoice-live",
        description=_ABOUT,
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version_option(arguments)
    add = arguments.add_argument
    add(
        "input",
        nargs="?",
        type=given,
        metavar="FILE",
        help="a recording, or - for raw samples on stdin (24 kHz, 16 bit, little-endian, mono); "
        "default: the microphone",
    )
    add("--fast", action="store_true", help="send a file faster than real time")
    add("--device", type=given, help="the microphone, by number or a part of its name")
    add("--list-devices", action="store_true", help="list the microphones and exit")
    add("--json", action="store_true", help="print the server's events to stdout, one per line")
    add(
        "-o",
        "--output",
        action="append",
        default=[],
        type=_output,
        metavar="FILE",
        help="write the transcript to a new file; its extension is the format: "
        f"{', '.join(f'.{name}' for name in FORMATS)}. May be repeated",
    )
    add("--model", type=given, help="name of the model (the server's default)")
    add("--language", type=given, help="language of the speech, such as en")
    add("--prompt", default="", help="what the recording is about")
    add("--hotwords", default="", help="words to expect, separated by commas")
    add(
        "--silence",
        type=_seconds,
        default=SessionConfig.silence_seconds,
        metavar="SECONDS",
        help=f"silence that ends a turn ({SessionConfig.silence_seconds:g})",
    )
    add(
        "--threshold",
        type=_share,
        default=SessionConfig.threshold,
        metavar="0..1",
        help=f"probability of speech that starts a turn ({SessionConfig.threshold:g})",
    )
    add(
        "--base-url",
        metavar="URL",
        help=f"base URL of the server (VIBEVOICE_BASE_URL, or else {DEFAULT_URL})",
    )
    add(
        "--ca-file",
        type=Path,
        metavar="FILE",
        help="certificates (PEM) to trust in addition to the system's",
    )
    add(
        "--patience",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait for the last words (60)",
    )
    return arguments


def _output(name: str) -> Path:
    path = Path(given(name))
    if path.suffix[1:] not in FORMATS:
        endings = ", ".join(f".{format}" for format in FORMATS)
        raise argparse.ArgumentTypeError(
            f"expected a file name that ends in {endings}, got {name!r}"
        )
    return path


def _number(text: str, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= most:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to {most:g}, got {text!r}")
    return number


def _seconds(text: str) -> float:
    return _number(text, 3600)


def _share(text: str) -> float:
    return _number(text, 1)
