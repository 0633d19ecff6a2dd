"""Engine and proxy in the foreground: `make serve`.

Serves `MODEL_DIR` (a folder of VibeVoice-ASR, one that holds `VibeVoice-ASR/`, or a hub id, which
is downloaded), else the embedded checkpoint. Ends with exit code 1 as soon as one part ends.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EMBEDDED = str(ROOT / "models" / "tiny-asr")


class PartEnded(Exception):
    """The engine or the proxy ended, or was not ready in time."""


STOP_SECONDS = 45
"""More than the start script takes to end an engine that does not end by itself."""


def wait_until_ready(url: str, *processes: subprocess.Popen[bytes], seconds: float) -> None:
    """Poll `url` until it answers 200. Raises PartEnded when a process ends or time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for process in processes:
            if process.poll() is not None:
                raise PartEnded(f"{process.args!r} ended with code {process.returncode}")
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        time.sleep(0.3)
    raise PartEnded(f"{url} was not ready after {seconds:.0f} s")


@contextlib.contextmanager
def stack(
    model: str, api_port: int, asr_port: int, log: Path | None = None
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Engine on `asr_port` and proxy on `api_port`, both ready; ended on leaving.

    `log` takes the output of both (default: this terminal).
    """
    # The start script's own wait is off: what is waited for here is both parts.
    engine_options = ["--model-dir", model, "--port", str(asr_port), "--wait-ready-secs", "0"]
    environment = {**os.environ, "API_PORT": str(api_port), "ASR_PORT": str(asr_port)}
    with contextlib.ExitStack() as cleanup:
        output = cleanup.enter_context(log.open("wb")) if log else None
        parts: list[subprocess.Popen[bytes]] = []
        cleanup.callback(_stop, parts)
        for module, options in (
            ("vibevoice_vllm.launch", engine_options),
            ("vibevoice_proxy", []),
        ):
            command = [sys.executable, "-m", module, *options]
            parts.append(
                subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=ROOT)
            )
        wait_until_ready(f"http://127.0.0.1:{asr_port}/health", *parts, seconds=1800)
        wait_until_ready(f"http://127.0.0.1:{api_port}/health", *parts, seconds=660)
        yield parts


def _stop(parts: list[subprocess.Popen[bytes]]) -> None:
    for part in reversed(parts):
        part.terminate()
    for part in parts:
        try:
            part.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            part.kill()
            part.wait()


def main() -> int:
    api_port = int(os.environ.get("API_PORT", "8899"))
    asr_port = int(os.environ.get("ASR_PORT", "8006"))
    os.chdir(ROOT)  # what is named relative is so to the repository
    # SIGTERM ends the same way as Ctrl-C, so that the parts are stopped too
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        model = os.environ.get("MODEL_DIR") or EMBEDDED
        if model == EMBEDDED:
            # It is right up to about a minute (docs/tiny-asr.md), the real model up to an hour.
            os.environ.setdefault("VIBEVOICE_MAX_PIECE_SECONDS", "60")
        if not Path(model).is_dir():
            prepare = [sys.executable, "-m", "vibevoice_vllm.prepare", model]
            if code := subprocess.run(prepare, cwd=ROOT).returncode:
                return code
            model = str(Path("models") / Path(model).name)
        with stack(model, api_port, asr_port) as parts:
            print(
                f"\nReady. Serving {Path(model).name} on http://127.0.0.1:{api_port}; try:\n\n"
                f"  curl -F file=@samples/two-speakers.wav -F response_format=srt "
                f"http://127.0.0.1:{api_port}/v1/audio/transcriptions\n",
                flush=True,
            )
            while all(part.poll() is None for part in parts):
                time.sleep(0.5)
            raise PartEnded("the engine or the proxy ended; see above")
    except KeyboardInterrupt:
        return 0
    except PartEnded as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
