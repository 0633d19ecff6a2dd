"""Runs of `vibevoice-transcribe` that are interrupted, or rejected because another one is
active."""

import signal
import subprocess
import threading
from pathlib import Path

from tests.support.batch_client import Batch
from tests.support.fakes import FakeEngine
from tests.support.processes import wait_for

pytest_plugins = ("tests.support.proxy_fixtures",)

SECONDS = 120
"""How long the client may take on a busy machine."""


def _read_until(process: subprocess.Popen[str], said: str) -> None:
    assert process.stderr is not None
    watchdog = threading.Timer(SECONDS, process.kill)
    watchdog.start()
    found = any(said in line for line in process.stderr)
    watchdog.cancel()
    assert found, f"it never said {said!r}"


def test_an_interrupt_waits_for_what_is_being_transcribed(
    batch: Batch, recordings: Path, fake_engine: FakeEngine
) -> None:
    """The exit code is 130; the response is saved, and the rest is left for the next run."""
    fake_engine.stall_after = 1
    with batch.start(recordings, "--concurrency", "1") as process:
        wait_for(lambda: fake_engine.at_once)
        process.send_signal(signal.SIGINT)
        _read_until(process, "Waiting for 1 request in flight")
        fake_engine.release.set()
        _, said = process.communicate(timeout=SECONDS)

    assert process.returncode == 130
    assert len(batch.lines()) == 1
    assert "1 transcribed" in said and "4 left" in said
    assert "Run the same command again to continue." in said
    assert batch.run(recordings)[0] == 1
    assert len(batch.lines()) == 5


def test_a_second_interrupt_leaves_at_once(
    batch: Batch, recordings: Path, fake_engine: FakeEngine
) -> None:
    """The server notices the closed connection and drops the work."""
    fake_engine.stall_after = 1
    with batch.start(recordings / "a.wav") as process:
        wait_for(lambda: fake_engine.at_once)
        process.send_signal(signal.SIGINT)
        _read_until(process, "interrupt again")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SECONDS)

    assert process.returncode == 130
    wait_for(fake_engine.closed.is_set)
    assert batch.lines() == []


def test_two_runs_into_one_folder_are_refused(
    batch: Batch, recordings: Path, fake_engine: FakeEngine
) -> None:
    """The second run ends with a usage error, and the first one continues."""
    fake_engine.stall_after = 1
    with batch.start(recordings / "a.wav") as process:
        wait_for(lambda: fake_engine.at_once)
        code, said = batch.run(recordings)
        fake_engine.release.set()
        process.communicate(timeout=SECONDS)

    assert (code, "another run is writing" in said) == (2, True)
    assert process.returncode == 0
