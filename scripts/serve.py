"""Runs the engine and the proxy in the foreground: `make serve`.

Serves `MODEL_DIR` (a VibeVoice-ASR folder, a folder that contains `VibeVoice-ASR/`, or a hub id,
which is downloaded), or else the embedded checkpoint. Exits with 1 as soon as either part exits.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from scripts.stack import EMBEDDED, ROOT, PartEnded, stack
from vibevoice_vllm.gpu import GpuError


def main() -> int:
    api_port = int(os.environ.get("API_PORT", "8899"))
    asr_port = int(os.environ.get("ASR_PORT", "8006"))
    os.chdir(ROOT)  # relative paths are relative to the repository
    # SIGTERM is handled like Ctrl-C, so both parts are stopped as well
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        model = os.environ.get("MODEL_DIR") or EMBEDDED
        if model == EMBEDDED:
            # It is accurate up to about a minute, the real model up to an hour
            # (docs/background/tiny-asr.md).
            os.environ.setdefault("VIBEVOICE_MAX_SECTION_SECONDS", "60")
        if not Path(model).is_dir():
            prepare = [sys.executable, "-m", "vibevoice_vllm.prepare", model]
            if code := subprocess.run(prepare, cwd=ROOT).returncode:
                return code
            model = str(Path("models") / Path(model).name)
        with stack(model, api_port, asr_port) as parts:
            print(
                f"\nReady. Serving {Path(model).name} on http://127.0.0.1:{api_port}; open it in "
                "a browser, or try:\n\n"
                "  curl -F file=@samples/conversation.flac -F response_format=srt "
                f"http://127.0.0.1:{api_port}/v1/audio/transcriptions\n",
                flush=True,
            )
            while all(part.poll() is None for part in parts):
                time.sleep(0.5)
            raise PartEnded("the engine or the proxy exited; see above")
    except KeyboardInterrupt:
        return 0
    except (PartEnded, GpuError, ValueError) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
