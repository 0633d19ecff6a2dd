"""Runs the batch client as a process, and reads its folder of transcripts."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tests.support.recordings import wav

COMMAND = Path(sys.executable).parent / "vibevoice-transcribe"


OBEYS_PERMISSIONS = (
    ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
)
"""Runs a command without root's privilege to bypass file permissions."""


class Batch:
    """Runs `vibevoice-transcribe` against one server, into one folder."""

    def __init__(self, output: Path | str, url: str = "") -> None:
        self.output = Path(output)
        self.url = url
        self.prefix: list[str] = []
        """The command that runs the client."""
        self.cwd: Path | None = None

    @contextmanager
    def start(
        self,
        *arguments: str | Path,
        stdin: bytes = b"",
        environ: Mapping[str, str] | None = None,
        **variables: str,
    ) -> Iterator[subprocess.Popen[str]]:
        """The process, with stderr as a pipe; killed when the block ends."""
        # Ignore any HTTP proxy configured on the test machine.
        inherited = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        inherited["VIBEVOICE_BASE_URL"] = f"{self.url}/v1"
        with tempfile.TemporaryFile() as file:
            file.write(stdin)
            file.seek(0)
            process = subprocess.Popen(
                [*self.prefix, COMMAND, *_before(arguments, "-o", self.output)],
                cwd=self.cwd,
                env={
                    **inherited,
                    "VIBEVOICE_BASE_URL": f"{self.url}/v1",
                    **variables,
                    **(environ or {}),
                },
                stdin=file,
                stderr=subprocess.PIPE,
                text=True,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            if process.stderr:
                process.stderr.close()

    def run(
        self,
        *arguments: str | Path,
        stdin: bytes = b"",
        environ: Mapping[str, str] | None = None,
        **variables: str,
    ) -> tuple[int, str]:
        """Exit code and stderr."""
        with self.start(*arguments, stdin=stdin, environ=environ, **variables) as process:
            _, said = process.communicate(timeout=300)
            return process.returncode, said

    def lines(self) -> list[dict[str, Any]]:
        """The lines of the journal."""
        text = (self.output / "transcripts.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]


def _before(arguments: Sequence[str | Path], *options: str | Path) -> list[str | Path]:
    """Insert options before `--` in `arguments`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [*arguments[:end], *options, *arguments[end:]]


def noise(seconds: float) -> bytes:
    """A WAV file of noise that is different for each length."""
    samples = round(seconds * 8000)
    return wav(np.random.default_rng(samples).normal(0, 0.1, samples), rate=8000)
