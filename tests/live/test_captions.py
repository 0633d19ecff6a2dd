"""`vibevoice-live` with the real proxy: captions from files, pipes and a microphone."""

import json
import os
import pty
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.installing import require_debian
from tests.support.live_client import COMMAND, environment, run
from tests.support.real_voices import Spoken
from tests.support.realtime import RATE, Received, decode_open_turn
from tests.support.wording import errors, words

Talk = tuple[bytes, list[Spoken]]
_LINE = re.compile(r"(\d+):(\d\d) ([A-Z]): (.*)")
TENTH = 2 * RATE // 10


def check(captions: str, turns: list[Spoken]) -> None:
    """Check that the lines have the right words, times and speakers."""
    found = [_LINE.fullmatch(line) for line in captions.splitlines()]
    speakers = []
    for match, spoken in zip(found, turns, strict=True):
        assert match, captions
        minutes, seconds, speaker, text = match.groups()
        assert 60 * int(minutes) + int(seconds) == pytest.approx(spoken.start, abs=1)
        assert errors(words(spoken.text), words(text)) <= 3
        speakers.append(speaker)
    assert speakers == ["A", "B", "A", "B"][: len(turns)]


def test_a_file(base: str, talk: Talk, recording: Path, tmp_path: Path) -> None:
    """Captions go to stdout, and the transcript to new files."""
    srt, document = tmp_path / "talk.srt", tmp_path / "talk.json"
    done = run(base, recording, "--fast", "-o", srt, "-o", document)
    assert (done.returncode, done.stderr) == (0, "")
    check(done.stdout, talk[1])
    segments = json.loads(document.read_text())["segments"]
    assert [segment["speaker"] for segment in segments] == ["A", "B", "A", "B"]
    assert srt.read_text().startswith("1\n00:00:00,")
    again = run(base, recording, "-o", srt)
    assert (again.returncode, again.stdout) == (2, "")
    assert "talk.srt already exists" in again.stderr


def test_a_pipe_and_an_interruption(base: str, talk: Talk) -> None:
    """Ctrl-C ends the open turn, and its words still arrive."""
    data, turns = talk
    received = Received(base)
    with subprocess.Popen(
        [*COMMAND, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(base)
    ) as process:
        assert process.stdin and process.stdout
        end = round(turns[1].end * RATE) * 2
        process.stdin.write(data[:end])
        process.stdin.flush()
        first = process.stdout.readline()
        received.wait_for(data[:end])
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(30) == 0
    check((first + rest).decode(), turns[:2])


def test_an_interrupted_file(base: str, recording: Path) -> None:
    """The exit code reports that the rest was not sent."""
    with subprocess.Popen(
        [*COMMAND, recording, "--json"], stdout=subprocess.PIPE, env=environment(base)
    ) as process:
        assert process.stdout
        events = iter(process.stdout.readline, b"")
        next(line for line in events if b"speech_started" in line)
        process.send_signal(signal.SIGINT)
        assert any(b"completed" in line for line in events)
        assert process.wait(30) == 130


def test_words_grow_on_a_terminal(base: str, talk: Talk) -> None:
    """Words appear before the final line."""
    data, turns = talk
    received = Received(base)
    screen, terminal = pty.openpty()
    with (
        ThreadPoolExecutor() as pool,
        subprocess.Popen(
            [*COMMAND, "-"],
            stdin=subprocess.PIPE,
            stdout=terminal,
            env=environment(base, TERM="xterm", COLUMNS="80"),
        ) as process,
    ):
        os.close(terminal)
        reading = pool.submit(_all, screen)
        assert process.stdin
        for at in range(0, round((turns[0].end + 1) * RATE) * 2, RATE):  # half a second each
            process.stdin.write(data[at : at + RATE])
            process.stdin.flush()
            received.wait_for(data[: at + RATE])
            decode_open_turn(base)
        process.stdin.close()
        shown = reading.result()
        assert process.wait(30) == 0
    final = shown.index("A: ")
    growing = re.findall(r"\x1b\[2m([A-Z][^\x1b]+)\x1b", shown[:final])
    assert len(set(growing)) > 1
    assert growing == sorted(growing, key=len)
    assert all(words(text)[:1] == words(turns[0].text)[:1] for text in growing)


def _all(screen: int) -> str:
    """Everything that a program writes to its terminal before it ends."""
    parts = []
    try:
        while part := os.read(screen, 65536):
            parts.append(part)
    except OSError:  # the end, on Linux
        pass
    os.close(screen)
    return b"".join(parts).decode()


@contextmanager
def microphone(home: Path, data: bytes) -> Iterator[None]:
    """An ALSA microphone, the default one if HOME is `home`. It plays `data` at five times real
    time, then silence."""
    require_debian("libportaudio2")
    pipe = home / "microphone"
    os.mkfifo(pipe)
    (home / ".asoundrc").write_text(
        f'pcm.!default {{ type file slave.pcm "null" file "/dev/null" infile "{pipe}" '
        'format "raw" }\n'
    )
    over = threading.Event()
    number = os.open(pipe, os.O_RDWR)

    def speak() -> None:
        at = 0
        while not over.is_set():
            os.write(number, data[at : at + TENTH] or bytes(TENTH))
            at += TENTH
            over.wait(0.02)

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        yield
    finally:
        over.set()
        os.read(number, 65536)  # a buffer's worth, if nothing has read
        thread.join()
        os.close(number)


def test_a_microphone(base: str, talk: Talk, tmp_path: Path) -> None:
    """The default microphone is read through PortAudio until Ctrl-C."""
    data, turns = talk
    with microphone(tmp_path, data[: round((turns[1].end + 0.3) * RATE) * 2]):
        with subprocess.Popen(
            COMMAND,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(base, HOME=str(tmp_path)),
            text=True,
        ) as process:
            assert process.stdout
            giving_up = threading.Timer(120, process.kill)
            giving_up.start()
            captions = "".join(process.stdout.readline() for _ in range(2))
            process.send_signal(signal.SIGINT)
            rest, said = process.communicate()
            giving_up.cancel()
    assert (process.returncode, said) == (0, "")
    check(captions + rest, turns[:2])
