"""Shows progress on stderr: a bar on a terminal, otherwise a plain line now and then."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

SECONDS_BETWEEN_LINES = 10.0


class Report:
    """Context manager that counts what a run reports, and displays it."""

    def __init__(self, files: int, size: int, console: Console | None = None) -> None:
        """`files` to do, with `size` bytes in total."""
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        text = TextColumn("{task.description}", markup=False)
        self._bar = Progress(BarColumn(24), text, console=self._console)
        self._task = self._bar.add_task("", total=max(size, 1))
        self._files, self._size = files, size
        self._read = self._limit = 0
        self._started = self._shown = time.monotonic()
        self.transcribed = 0
        self.copied = 0
        """Transcribed by copying from a file with the same content."""
        self.failed = 0
        """How many of the files to do have failed."""
        self.failures: dict[str, str] = {}
        """Reasons by name, including names that are not files to do."""
        self.audio = 0.0
        """Seconds transcribed, including copies."""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def done(self, size: int, audio: float, limit: int, *, copied: bool) -> None:
        """Count a file of `size` bytes and `audio` seconds as transcribed."""
        self.transcribed += 1
        self.copied += copied
        self.audio += audio
        self._limit = limit
        self._show(size)

    def fail(self, name: str, message: str, size: int) -> None:
        """Count a file as failed, and report it immediately."""
        self.failed += 1
        self.name(name, message)
        self._show(size)

    def name(self, name: str, message: str) -> None:
        """Report an input that is not one of the files to do because it cannot be transcribed."""
        self.failures[name] = message
        self.say(f"FAILED {name}: {message}")

    def say(self, message: str) -> None:
        """Print a line that remains on the screen."""
        self._console.print(printable(message), markup=False)

    def line(self) -> str:
        """Files, speed, and time left, on one line."""
        elapsed = max(time.monotonic() - self._started, 1e-9)
        finished = self.transcribed + self.failed
        # Bytes predict the time left better than files do: recordings differ in length.
        share = self._read / max(self._size, 1)
        left = elapsed * (1 - share) / share if share > 0.01 else None
        parts = [
            f"{finished}/{self._files} files",
            f"{self.failed} failed" if self.failed else "",
            f"{self.audio / 3600:.2f} h of audio at {self.audio / elapsed:.1f} h/h",
            f"{self._limit} at once" if self._limit else "",
            f"{_clock(left)} left" if left is not None else "",
        ]
        return ", ".join(filter(None, parts))

    def _show(self, size: int) -> None:
        self._read += size
        self._bar.update(self._task, completed=self._read, description=self.line())
        now = time.monotonic()
        if not self._console.is_terminal and now - self._shown >= SECONDS_BETWEEN_LINES:
            self._shown = now
            self.say(self.line())


def printable(text: str) -> str:
    """`text` on one line, without terminal control characters; undecodable names as bytes."""
    return "".join(
        character if character.isprintable() else _escaped(character) for character in text
    )


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"
