"""Runs the engine and the proxy in the foreground: `make serve`.

Reads the environment, then `.env`. Serves `MODEL_DIR` (a VibeVoice-ASR folder, a folder that
contains `VibeVoice-ASR/`, or a hub id, which is downloaded), or else the embedded checkpoint.
The engine logs to a file, the proxy to the terminal. Exits with 1 as soon as either part exits.
"""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from dotenv import load_dotenv
from pydantic import ValidationError

from scripts.stack import EMBEDDED, ROOT, PartEnded, Parts, free_port, started
from vibevoice_core.addresses import local_url
from vibevoice_proxy.listening import open_sockets
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.startup import describe_errors
from vibevoice_vllm.gpu import GpuError

LOG_LINES = 30
"""How many of the last lines of the engine's log are printed if it fails; they show the reason."""


def check_ports(addresses: Mapping[str, tuple[str, int]]) -> None:
    """Check that nothing else listens on these (host, port), keyed by the setting of the port.

    Raises:
        ValueError: a port is in use, or two settings have the same one; it says what to do.
    """
    ports = [port for _, port in addresses.values()]
    if len(set(ports)) < len(ports):
        raise ValueError(f"{' and '.join(addresses)} must be different ports")
    used = {name: port for name, (host, port) in addresses.items() if _used(host, port)}
    if used:
        named = " and ".join(f"port {port} ({name})" for name, port in used.items())
        remedy = " ".join(f"{name}={port + 1}" for name, port in used.items())
        verb = "is" if len(used) == 1 else "are"
        raise ValueError(f"{named} {verb} in use; choose another, for example: {remedy} make serve")


def _used(host: str, port: int) -> bool:
    """Whether another program listens there. Other problems are left to the program that will."""
    try:
        for listener in open_sockets(host, port):
            listener.close()
    except ValueError as error:
        return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
    return False


def _load_env_file(folder: Path) -> None:
    """Add the variables of `.env` that the environment does not have. The engine does not read that
    file, so both parts get them from the environment. Raises ValueError if it cannot be read."""
    try:
        load_dotenv(folder / ".env")
    except (OSError, UnicodeError) as error:
        raise ValueError(f".env in {folder} cannot be read: {error}") from error


def waiting_text(states: Mapping[str, str], url: str) -> str:
    """What is printed when everything except the engine is ready.

    Args:
        states: the state of each component of the proxy, as in /health.
    """
    works = ["the web page"]
    if "light" in states:
        works.append("transcription of English (whisper-1)")
    if set(states) - {"proxy", "asr", "light"}:
        works.append("speech")
    return f"{url} is ready for {_listed(works)}. The engine is still loading."


def ready_text(model: str, states: Mapping[str, str], url: str, *, needs_key: bool) -> str:
    """What is printed when both parts are ready. `$KEY` stands for one of the API keys, which are
    not printed.

    Args:
        model: name of the engine's model, and what it is.
        states: the state of each component of the proxy, as in /health.
    """
    served: list[str] = []
    if "light" in states:
        served.append("whisper-1 (English)")
    if "asr" in states:
        served.append(model)
    key = '-H "Authorization: Bearer $KEY" ' if needs_key else ""
    return (
        f"\nReady. Serving {_listed(served or ['speech'])} on {url}; open it in a browser, or "
        f"try:\n\n  curl {key}-F file=@samples/conversation.flac -F response_format=srt "
        f"{url}/v1/audio/transcriptions\n"
    )


def _listed(words: Sequence[str]) -> str:
    """Join `words` for use in a sentence: `a, b, and c`."""
    *rest, last = words
    comma = "," if len(rest) > 1 else ""
    return f"{', '.join(rest)}{comma} and {last}" if rest else last


def _serve(parts: Parts, log: Path, model: str, url: str, *, needs_key: bool) -> NoReturn:
    """Print what is ready, then wait until one of the parts exits. Raises PartEnded."""
    try:
        parts.wait_for_others()
        states = parts.states()
        if states.get("asr", "ok") != "ok":
            print(waiting_text(states, url), flush=True)
        parts.wait()
        print(ready_text(model, parts.states(), url, needs_key=needs_key), flush=True)
        while True:
            parts.check()
            time.sleep(0.5)
    except PartEnded as error:
        if parts.engine.poll() is None:
            raise
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        raise PartEnded("\n".join([f"{error}. The end of its log, {log}:", *lines])) from error


def main(folder: Path = ROOT) -> int:
    """Serve until a signal arrives. `.env` and relative paths are those of `folder`."""
    os.chdir(folder)
    # SIGTERM is handled like Ctrl-C, so both parts are stopped as well
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _load_env_file(folder)
        settings = Settings()
        api_port = settings.api_port or free_port()
        engine_host = os.environ.get("ASR_HOST") or "127.0.0.1"
        check_ports(
            {
                "API_PORT": (settings.api_host, api_port),
                "ASR_PORT": (engine_host, settings.asr_port),
            }
        )
        model = settings.model_dir or EMBEDDED
        if model == EMBEDDED:
            # It is accurate up to about a minute, the real model up to an hour
            # (docs/background/tiny-asr.md).
            os.environ.setdefault("VIBEVOICE_MAX_SECTION_SECONDS", "60")
        if not Path(model).is_dir():
            prepare = [sys.executable, "-m", "vibevoice_vllm.prepare", model]
            if code := subprocess.run(prepare).returncode:
                return code
            model = str(Path("models") / Path(model).name)
        log = Path(tempfile.mkdtemp(prefix="vibevoice-serve-")) / "engine.log"
        with (
            log.open("wb") as output,
            started(model, api_port, settings.asr_port, output, None, os.environ, folder) as parts,
        ):
            print(f"Starting the proxy and the engine (engine's log: {log}) …", flush=True)
            needs_key = bool(settings.api_keys or settings.api_keys_file)
            url = local_url(settings.api_host, api_port)
            what = "test model: only digits" if model == EMBEDDED else Path(model).name
            named = f"{settings.served_model_name} ({what})"
            _serve(parts, log, named, url, needs_key=needs_key)
    except KeyboardInterrupt:
        print("Stopped.")
        return 0
    except ValidationError as error:
        print(f"serve: {describe_errors(error)}", file=sys.stderr)
        return 1
    except (PartEnded, GpuError, ValueError) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
