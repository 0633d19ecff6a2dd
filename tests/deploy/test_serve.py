"""What `make serve` and `make demo` print before and instead of a running server."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripts.serve import ready_text, waiting_text
from scripts.stack import EMBEDDED, ROOT, PartEnded, free_port, stack

SERVE = """
import sys
from pathlib import Path
from scripts.serve import main
sys.exit(main(Path(sys.argv[1])))
"""


@pytest.fixture
def used() -> Iterator[int]:
    """A port on which something listens."""
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        yield listener.getsockname()[1]


def start(folder: Path, env_file: str, **environ: str) -> subprocess.Popen[str]:
    """`make serve` in a folder with this `.env`, where its logs are as well."""
    (folder / ".env").write_text(env_file)
    names = ("VIBEVOICE_", "API_", "ASR_", "TTS_", "MODEL_DIR")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    inherited |= {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", SERVE, folder],
        env={**inherited, **environ},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def serve(folder: Path, env_file: str, **environ: str) -> str:
    """The error that `make serve` prints in a folder with this `.env`; nothing is started."""
    with start(folder, env_file, **environ) as ran:
        printed, said = ran.communicate(timeout=300)
    assert ran.returncode == 1 and printed == "", printed + said
    return said


def test_used_port(tmp_path: Path, used: int) -> None:
    """The ports come from `.env`. A used one stops the start and is named with the remedy."""
    free = free_port()
    said = serve(tmp_path, f"API_PORT={used}\nASR_PORT={free}\n")
    assert said == (
        f"serve: port {used} (API_PORT) is in use; choose another, for example: "
        f"API_PORT={used + 1} make serve\n"
    )


def test_both_ports_used(tmp_path: Path, used: int) -> None:
    """The environment overrides `.env`; both used ports are named."""
    with socket.create_server(("127.0.0.1", free_port())) as other:
        port = other.getsockname()[1]
        said = serve(tmp_path, f"API_PORT=1\nASR_PORT={used}\n", API_PORT=str(port))
    assert f"port {port} (API_PORT) and port {used} (ASR_PORT) are in use" in said
    assert f"API_PORT={port + 1} ASR_PORT={used + 1} make serve" in said


@pytest.mark.parametrize(
    ("env_file", "said"),
    [
        ("API_PORT=http\n", "Invalid settings: API_PORT: Input should be a valid integer"),
        ("API_PORT=20001\nASR_PORT=20001\n", "API_PORT and ASR_PORT must be different ports"),
        ("TTS_MODEL_TYPE=2b\n", "Invalid settings: TTS_MODEL_TYPE"),
    ],
)
def test_invalid_env_file(env_file: str, said: str, tmp_path: Path) -> None:
    """Nothing starts with invalid settings in `.env`, and one line says which."""
    (line,) = serve(tmp_path, env_file).splitlines()
    assert line.startswith(f"serve: {said}")


def test_model_of_the_env_file(tmp_path: Path) -> None:
    """`MODEL_DIR` in `.env` is the engine's model: a folder that does not exist is not served."""
    ports = f"API_PORT={free_port()}\nASR_PORT={free_port()}\n"
    assert "./nowhere" in serve(tmp_path, f"{ports}MODEL_DIR=./nowhere\n")


def test_failed_engine(tmp_path: Path) -> None:
    """The engine logs to a file; if it exits, the end of this log is printed."""
    with start(tmp_path, f"API_PORT=0\nASR_PORT={free_port()}\nBATCH_SIZE=0\n") as ran:
        printed, said = ran.communicate(timeout=300)
    assert ran.returncode == 1
    (log,) = tmp_path.glob("vibevoice-serve-*/engine.log")
    assert printed.startswith(f"Starting the proxy and the engine (engine's log: {log}) …\n")
    failure = f"serve: the engine exited with code 2. The end of its log, {log}:\nBATCH_SIZE: "
    assert failure in said


def test_stopped(tmp_path: Path) -> None:
    """After SIGTERM, which is handled like Ctrl-C, the last line says that the server stopped."""
    with start(tmp_path, f"API_PORT=0\nASR_PORT={free_port()}\n") as ran:
        assert ran.stdout
        assert ran.stdout.readline().startswith("Starting")
        ran.send_signal(signal.SIGTERM)
        printed, _ = ran.communicate(timeout=300)
    assert ran.returncode == 0
    assert printed.endswith("Stopped.\n")


def test_waiting_text() -> None:
    """The text names what works while the engine is loading."""
    url = "http://127.0.0.1:8899"
    states = {"proxy": "ok", "light": "ok", "asr": "The engine is not ready.", "hibari": "ok"}
    assert waiting_text(states, url) == (
        f"{url} is ready for the web page, transcription of English (whisper-1), and speech. "
        "The engine is still loading."
    )
    del states["light"], states["hibari"]
    assert waiting_text(states, url).startswith(f"{url} is ready for the web page. ")


def test_ready_text() -> None:
    """The text is the README's. The example sends a key only if the server has keys."""
    url = "http://127.0.0.1:8899"
    states = {"proxy": "ok", "light": "ok", "asr": "ok", "hibari": "ok"}
    text = ready_text("vibevoice (test model: only digits)", states, url, needs_key=False)
    assert f"$ make serve{text}```" in (ROOT / "README.md").read_text()
    assert '  curl -H "Authorization: Bearer $KEY" -F file=' in ready_text(
        "vibevoice (VibeVoice-ASR)", states, url, needs_key=True
    )


def test_ended_part_is_named(tmp_path: Path) -> None:
    """The message names the part that ended, not its command line."""
    with (
        pytest.raises(PartEnded, match=r"^the engine exited with code 2$"),
        stack(EMBEDDED, free_port(), free_port(), tmp_path / "log", {"BATCH_SIZE": "0"}),
    ):
        pass
    assert "BATCH_SIZE" in (tmp_path / "log").read_text()


def test_failed_demo_prints_its_log() -> None:
    """The log is a new file each time; it stays when the demo fails."""
    ran = subprocess.run(
        [sys.executable, "-m", "scripts.demo"],
        cwd=ROOT,
        env={**os.environ, "BATCH_SIZE": "0"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 1
    found = re.fullmatch(
        r"demo: the engine exited with code 2; see the log: (\S+/vibevoice-demo-\w+/demo\.log)\n",
        ran.stderr,
    )
    assert found, ran.stderr
    log = Path(found[1])
    assert "BATCH_SIZE" in log.read_text()
    log.unlink()
    log.parent.rmdir()
