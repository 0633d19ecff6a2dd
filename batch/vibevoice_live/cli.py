"""The command line: `vibevoice-live`."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

from vibevoice_batch.errors import InputError, Refused
from vibevoice_batch.progress import printable
from vibevoice_batch.server import DEFAULT_URL, UNCLEAR, UNCLEAR_HINT
from vibevoice_live.arguments import parser
from vibevoice_live.captions import Captions, Display, JsonLines
from vibevoice_live.config import SessionConfig
from vibevoice_live.connecting import Server, connected, find_server
from vibevoice_live.errors import SessionLost, SourceError
from vibevoice_live.events import ErrorEvent
from vibevoice_live.session import Session
from vibevoice_live.sources import (
    file_blocks,
    microphone_blocks,
    microphones,
    paced,
    stdin_blocks,
    until,
)
from vibevoice_live.transcript import Transcript

COMPLETE, INCOMPLETE, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes; the last one is the shell's code for SIGINT."""


class Files:
    """The output files, rewritten after each turn."""

    def __init__(self, files: Sequence[tuple[Path, TextIO]]) -> None:
        self._files = files

    def write(self, transcript: Transcript, seconds: float) -> None:
        """Replace the content of the files."""
        for path, file in self._files:
            file.seek(0)
            file.write(transcript.written(path.stem, path.suffix[1:], seconds))
            file.truncate()
            file.flush()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = parser().parse_args(arguments)
    try:
        if options.list_devices:
            print("\n".join(microphones()))
            return COMPLETE
        _check(options)
        server = _server(options)
        with ExitStack() as stack:
            files = Files([(path, stack.enter_context(_new(path))) for path in options.output])
            display = JsonLines() if options.json else Captions()
            return asyncio.run(_caption(options, server, files, display))
    except InputError as error:
        return _end(USAGE, error)
    except (Refused, SourceError) as error:
        return _end(INCOMPLETE, error)
    except BrokenPipeError:
        # Python flushes stdout again at exit, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INCOMPLETE
    except OSError as error:
        return _end(INCOMPLETE, f"the transcript cannot be written: {error.strerror or error}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED


def _check(options: argparse.Namespace) -> None:
    """Raises InputError if options contradict each other."""
    if options.fast and options.input in (None, "-"):
        raise InputError("--fast requires a file: the microphone and stdin set their own pace")
    if options.device and options.input:
        raise InputError("--device selects the microphone and cannot be used with a file")


def _server(options: argparse.Namespace) -> Server:
    """Raises InputError."""
    url = options.base_url
    if url is None:
        url = os.environ.get("VIBEVOICE_BASE_URL", DEFAULT_URL)
    return find_server(url, os.environ.get("VIBEVOICE_API_KEY"), options.ca_file)


@contextmanager
def _new(path: Path) -> Generator[TextIO]:
    """A new file at `path`; removed if the block fails before anything is written. Raises
    InputError."""
    try:
        file = path.open("x", encoding="utf-8", errors="replace")
    except FileExistsError:
        raise InputError(f"{path} already exists: move it, or choose another -o") from None
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with file:
            yield file
    except BaseException:
        if not path.stat().st_size:
            path.unlink()
        raise


def _blocks(options: argparse.Namespace) -> AsyncGenerator[bytes]:
    if options.input is None:
        return microphone_blocks(options.device)
    if options.input == "-":
        return stdin_blocks()
    blocks = file_blocks(Path(options.input))
    return blocks if options.fast else paced(blocks)


def _config(options: argparse.Namespace) -> SessionConfig:
    words = (word.strip() for word in options.hotwords.split(","))
    return SessionConfig(
        model=options.model,
        language=options.language,
        prompt=options.prompt,
        hotwords=tuple(filter(None, words)),
        silence_seconds=options.silence,
        threshold=options.threshold,
    )


async def _caption(
    options: argparse.Namespace, server: Server, files: Files, display: Display
) -> int:
    """Run the session and show it; returns the exit code.

    Raises:
        Refused: the server rejected the session.
        SourceError: the audio ended early. What was sent is transcribed first.
    """
    stop = _interruption()
    transcript = Transcript()
    async with connected(server) as connection:
        if options.input is None and sys.stderr.isatty():
            print("Listening. Press Ctrl-C to end.", file=sys.stderr)
        session = Session(connection, options.patience)
        playing = asyncio.create_task(session.play(_config(options), until(stop, _blocks(options))))
        lost = None
        try:
            with display:
                try:
                    async for event, fields in session.events():
                        lines = transcript.take(event, session.seconds)
                        display.show(fields, lines, transcript.open_words)
                        if isinstance(event, ErrorEvent):
                            _say(event.error.message)
                        if lines:
                            files.write(transcript, session.seconds)
                except SessionLost as error:
                    lost = str(error)
                    display.show({}, transcript.lose(session.seconds, lost), "")
                except asyncio.CancelledError:
                    display.show({}, transcript.lose(session.seconds, "interrupted"), "")
                    files.write(transcript, session.seconds)
                    raise
                files.write(transcript, session.seconds)
        finally:
            playing.cancel()
            with suppress(asyncio.CancelledError):
                await playing
    if lost:
        return _end(INCOMPLETE, f"{lost}; {session.seconds:.1f} s of audio were sent")
    if stop.is_set() and options.input not in (None, "-"):
        return INTERRUPTED
    if any(line.missing == UNCLEAR for line in transcript.lines):
        _say(f"{UNCLEAR}: {UNCLEAR_HINT}")
    return COMPLETE if transcript.is_complete else INCOMPLETE


def _interruption() -> asyncio.Event:
    """Set by the first SIGINT or SIGTERM. The second one cancels the calling task."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None

    def interrupt() -> None:
        if stop.is_set():
            task.cancel()
        elif sys.stderr.isatty():
            print("Waiting for the last words; press Ctrl-C again to quit.", file=sys.stderr)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    return stop


def _say(message: object) -> None:
    print(printable(f"vibevoice-live: {message}"), file=sys.stderr)


def _end(code: int, message: object) -> int:
    _say(message)
    return code
