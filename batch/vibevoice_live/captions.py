"""Shows a session: captions for people, JSON events for programs."""

import json
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from vibevoice_batch.progress import printable
from vibevoice_live.transcript import Line

_STYLES = ("cyan", "yellow", "green", "magenta", "blue", "red")
"""Colors of the speakers; the first one is A's."""
MAX_OPEN_LINES = 3
"""Maximum number of lines for the latest words of open turns."""


class Display(Protocol):
    """Shows a session; a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def show(self, fields: dict[str, Any], lines: Iterable[Line], open_words: str) -> None:
        """Show an event's fields, the new lines it adds, and the words of open turns."""
        ...


class Captions:
    """Lines with time and speaker; on a terminal, the words of open turns appear below them."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.update(Text(), refresh=True)
            self._live.stop()

    def show(self, fields: dict[str, Any], lines: Iterable[Line], open_words: str) -> None:
        """See `Display.show`."""
        for line in lines:
            self._console.print(_text(line), soft_wrap=True)
        if self._console.is_terminal:
            latest = printable(open_words)[-MAX_OPEN_LINES * self._console.width :]
            self._live.update(Text(latest, style="dim"), refresh=True)


class JsonLines:
    """Prints every event as a line of JSON on stdout."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def show(self, fields: dict[str, Any], lines: Iterable[Line], open_words: str) -> None:
        """See `Display.show`."""
        if fields:
            sys.stdout.write(json.dumps(fields) + "\n")
            sys.stdout.flush()


def _text(line: Line) -> Text:
    text = Text()
    text.append(f"{_clock(line.start)} ", style="dim")
    if line.speaker:
        text.append(f"{printable(line.speaker)}: ", style=_style(line.speaker))
    words = f"{line.text} ({line.missing})" if line.missing else line.text
    text.append(printable(words), style="red" if line.missing else "")
    return text


def _style(speaker: str) -> str:
    return f"bold {_STYLES[(ord(speaker[0]) - ord('A')) % len(_STYLES)]}"


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
