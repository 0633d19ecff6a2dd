"""Error messages of `vibevoice-live`; nothing is lost without a mark."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.realtime.conftest import light_proxy
from tests.support.live_client import (
    COMMAND,
    SECOND,
    TRANSCRIPTION,
    TURN,
    environment,
    item,
    run,
    scripted,
)
from tests.support.processes import nobody
from tests.support.recordings import tone, wav
from tests.support.ways import certificate, tls


@pytest.fixture(scope="module")
def closed(model_folder: object) -> Iterator[str]:
    """A proxy that requires a key."""
    with light_proxy(api_keys="sk-only") as url:
        yield url


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(("/no/such",), 1, "/no/such cannot be read: No such file", id="file"),
        pytest.param((__file__,), 1, "could not be decoded as audio", id="no audio"),
        pytest.param(("-", "--language", "fr"), 1, "rejected the settings", id="language"),
        pytest.param(("-", "--fast"), 2, "--fast requires a file", id="fast"),
        pytest.param(("-", "--device", "1"), 2, "--device selects the microphone", id="device"),
        pytest.param(("-", "-o", "a.doc"), 2, "ends in .json, .srt, .vtt, .txt", id="format"),
        pytest.param(("-", "-o", "/no/such/a.srt"), 2, "cannot be written", id="output"),
        pytest.param(("-", "--base-url", "me"), 2, "expected a URL like", id="no URL"),
        pytest.param(
            ("-", "--base-url", "ws://127.0.0.1:1/v1"), 1, "reached: Connection refused", id="down"
        ),
    ],
)
def test_what_cannot_be_done_is_told(
    base: str, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """Errors are one line, with an exit code."""
    done = run(base, *arguments, stdin=SECOND)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        ("<&-", 1, "stdin is closed"),
        ("0>/dev/null", 1, "stdin cannot be read: Bad file descriptor"),
        ("</dev/null", 0, ""),
    ],
)
def test_an_unreadable_stdin(redirection: str, code: int, said: str) -> None:
    """It ends the session immediately; an empty device is not an error."""
    with scripted(()) as url:
        shell = ["sh", "-c", f'exec "$@" - {redirection}', "sh", *COMMAND]
        done = subprocess.run(
            shell, env=environment(url), capture_output=True, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr and bool(done.stderr) == bool(said)


def test_keys_and_addresses(closed: str) -> None:
    """The message names the setting to change."""
    assert "set VIBEVOICE_API_KEY" in run(closed, "-", stdin=SECOND).stderr
    wrong = run(closed, "-", stdin=SECOND, VIBEVOICE_API_KEY="sk-other")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "is VIBEVOICE_API_KEY valid for this server?" in wrong.stderr
    elsewhere = run(f"{closed}/other", "-", stdin=SECOND, VIBEVOICE_API_KEY="sk-only")
    assert "is the base URL right? It usually ends in /v1" in elsewhere.stderr
    secure = run(closed.replace("http", "https"), "-", stdin=SECOND)
    assert "is it http://?" in secure.stderr


def test_a_full_server(model_folder: object, tmp_path: Path) -> None:
    """The server's message is shown, and no empty file is left."""
    with light_proxy(realtime_max_sessions=0) as url:
        done = run(url, "-", "-o", tmp_path / "a.srt", stdin=SECOND)
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert "returned 429" in done.stderr and "try again later" in done.stderr


def test_certificates(base: str, tmp_path: Path) -> None:
    """An unknown certificate is rejected, and accepted with --ca-file."""
    own = certificate(tmp_path, "DNS:localhost", "IP:127.0.0.1")
    with tls(base, own) as url:
        refused = run(url, "-", stdin=SECOND)
        assert (refused.returncode, "is not trusted" in refused.stderr) == (1, True)
        assert run(url, "-", "--ca-file", own.cert, stdin=SECOND).returncode == 0


def test_a_session_that_the_server_ends(model_folder: object, recording: Path) -> None:
    """The message says why."""
    with light_proxy(realtime_max_session_seconds=1.0) as url:
        done = run(url, recording)
    assert done.returncode == 1
    assert "maximum length" in done.stderr and "code 1001" in done.stderr


FAILED = item(f"{TRANSCRIPTION}.failed", error={"type": "server_error", "message": "off \x1b[2J"})
WHOLE = item(f"{TRANSCRIPTION}.completed", transcript="Hello.", usage={})
PARTLY = {**WHOLE, "missing": [{"start": 0.5, "end": 0.9, "reason": "unclear"}]}
INTERRUPTED = {"type": "error", "event_id": "e", "error": {"type": "server_error", "message": "no"}}


@pytest.mark.parametrize(
    ("events", "code", "captions", "said"),
    [
        pytest.param((*TURN, WHOLE), 0, "0:00 Hello.\n", "", id="no segments"),
        pytest.param(
            (*TURN, FAILED), 1, "0:00 [not transcribed] (off \\x1b[2J)\n", "", id="failed"
        ),
        pytest.param(
            (*TURN, PARTLY),
            1,
            "0:00 Hello.\n0:00 [not transcribed] (unclear)\n",
            "the light recognizer only supports English",
            id="partly",
        ),
        pytest.param((INTERRUPTED,), 1, "", "vibevoice-live: no\n", id="error"),
        pytest.param((*TURN, WHOLE, {"type": "new.event"}), 0, "0:00 Hello.\n", "", id="unknown"),
        pytest.param(
            (*TURN, "<html>"), 1, "0:00 [not transcribed]", "is not an event of", id="no event"
        ),
        pytest.param(
            ({**TURN[0], "item_id": 1},),
            1,
            "0:00 [not transcribed]",
            "not an event of OpenAI's API: item_id",
            id="another type",
        ),
    ],
)
def test_what_servers_tell(events: Any, code: int, captions: str, said: str) -> None:
    """Turns without segments, failed turns, and messages that are not events."""
    with scripted(events) as url:
        done = run(url, "-", "--patience", "60", stdin=SECOND)
    assert done.returncode == code
    assert done.stdout.startswith(captions) and bool(done.stdout) == bool(captions)
    assert said in done.stderr and bool(done.stderr) == bool(said)


def test_a_file_that_was_cut_off(tmp_path: Path) -> None:
    """What is there is transcribed; then the message says how much is lost."""
    whole = wav(tone(3.0), format="FLAC")
    path = tmp_path / "a.flac"
    path.write_bytes(whole[: len(whole) // 2])
    with scripted((*TURN, WHOLE)) as url:
        done = run(url, path, "--fast")
    assert (done.returncode, done.stdout) == (1, "0:00 Hello.\n")
    assert f"{path} was cut off: the last 1." in done.stderr


def test_a_server_that_vanishes(tmp_path: Path) -> None:
    """The open turn is marked as missing in the captions and in the files, from its start to the
    last audio sent."""
    subtitles, document = tmp_path / "a.srt", tmp_path / "a.json"
    with scripted(TURN, hangs_up=True) as url:
        done = run(url, "-", "-o", subtitles, "-o", document, stdin=SECOND)
    assert (done.returncode, "the connection was lost" in done.stderr) == (1, True)
    assert "[not transcribed]" in done.stdout
    assert subtitles.read_text() == "1\n00:00:00,200 --> 00:00:01,000\n[not transcribed]\n"
    (missing,) = json.loads(document.read_text())["missing"]
    assert (missing["start"], missing["end"]) == (0.2, 1.0)


def test_a_server_that_says_nothing() -> None:
    """The client gives up after its timeout."""
    with scripted(TURN) as url:
        done = run(url, "-", "--patience", "0.5", stdin=SECOND)
    assert (done.returncode, "sent nothing for 0.5 s" in done.stderr) == (1, True)


def test_a_second_interruption(tmp_path: Path) -> None:
    """The client does not wait for the last words and marks them as missing."""
    output = tmp_path / "a.json"
    with scripted(TURN) as url:
        with subprocess.Popen(
            [*COMMAND, "-", "--json", "-o", output],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(url),
        ) as process:
            assert process.stdin and process.stdout
            process.stdin.write(SECOND)
            process.stdin.flush()
            for awaited in (b"audio.received", b"committed"):
                assert any(awaited in line for line in iter(process.stdout.readline, b""))
                process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
    (missing,) = json.loads(output.read_text())["missing"]
    assert missing["reason"] == "interrupted"


def test_a_server_that_is_down() -> None:
    """The message names the server."""
    url = nobody()
    said = run(url, "-").stderr
    assert f"{url.replace('http', 'ws')}/v1/realtime cannot be reached" in said
    assert "start it with `make serve` or `vibevoice-proxy`, or set --base-url" in said
