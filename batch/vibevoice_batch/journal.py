"""What is done: `transcripts.jsonl`, one line for every recording, appended as answers come.

The journal comes first: a transcript is on disk here before its own files are written, so after a
crash at any moment they are made from it, and nothing that was answered is asked for again. A line:

    {"file", "path", "size", "mtime_ns", "sha256", "request"?, "manifest"?, "transcript" | "error"}

and the last line of a file counts.
"""

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vibevoice_batch.outputs import Transcript
from vibevoice_batch.recordings import Recording

logger = logging.getLogger("vibevoice_batch")


class JournalError(Exception):
    """The journal cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Content:
    """A recording as it was read."""

    size: int
    mtime_ns: int
    sha256: str
    """Hexadecimal; empty when it could not be read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the journal has something about a recording."""

    offset: int
    content: Content
    key: str
    error: dict[str, Any] | None

    @property
    def is_final(self) -> bool:
        """Whether asking again would give the same: a transcript, or a refusal of the file."""
        status = (self.error or {}).get("status")
        return self.error is None or (status in range(400, 500) and status != 408)


def read_content(path: Path) -> Content:
    """Size, time and hash of the file at `path`. Raises OSError."""
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Content(stat.st_size, stat.st_mtime_ns, sha256)


def request_key(sha256: str, fields: dict[str, Any]) -> str:
    """Equal for requests that get the same transcript: same bytes, same prompt and the like."""
    if not fields:
        return sha256
    return hashlib.sha256(f"{sha256} {json.dumps(fields, sort_keys=True)}".encode()).hexdigest()


class Journal:
    """The journal in a folder of transcripts; a context manager that no other process can enter
    at the same time."""

    def __init__(self, output: Path) -> None:
        self.path = output / "transcripts.jsonl"
        self._entries: dict[str, Entry] = {}
        self._done: dict[str, Entry] = {}
        """Transcripts by key."""
        self._lines = 0

    def __enter__(self) -> Self:
        """Raises JournalError: another process writes here."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise JournalError(f"another run is writing to {self.path.parent}") from None
        self._load()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def _load(self) -> None:
        with self.path.open("rb") as lines:
            offset = end = 0
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    self._enter(json.loads(line), offset)
                except (ValueError, KeyError, TypeError, AttributeError):
                    logger.warning("%s, line %d cannot be read and is left out", self.path, number)
                    self._lines += 1
                offset = end = offset + len(line)
        # A kill in the middle of a write leaves a line without an end.
        self._file.truncate(end)

    def _enter(self, line: dict[str, Any], offset: int) -> None:
        content = Content(line["size"], line["mtime_ns"], line["sha256"])
        key = request_key(content.sha256, line.get("request", {}))
        entry = Entry(offset, content, key, line.get("error"))
        if entry.error is None and "transcript" not in line:
            raise KeyError("transcript")
        self._lines += 1
        self._entries[line["file"]] = entry
        if entry.error is None:
            self._done[key] = entry

    def entry(self, recording: Recording) -> Entry | None:
        """What is known of a recording that has not changed since; None otherwise."""
        entry = self._entries.get(recording.name)
        if entry is None or entry.key != request_key(entry.content.sha256, recording.fields):
            return None
        try:
            stat = recording.path.stat()
        except OSError:
            return entry
        now = stat.st_size, stat.st_mtime_ns
        return entry if now == (entry.content.size, entry.content.mtime_ns) else None

    def done(self, key: str) -> Entry | None:
        """A transcript for these bytes and fields, of whatever file."""
        return self._done.get(key)

    def transcript(self, entry: Entry) -> Transcript:
        """The transcript of an entry that has no error."""
        with self.path.open("rb") as lines:
            lines.seek(entry.offset)
            return json.loads(lines.readline())["transcript"]

    def add(self, recording: Recording, content: Content, result: dict[str, Any]) -> None:
        """Keep `result`, {"transcript": …} or {"error": …}: it is on disk when this returns."""
        line: dict[str, Any] = {
            "file": recording.name,
            "path": str(recording.path),
            "size": content.size,
            "mtime_ns": content.mtime_ns,
            "sha256": content.sha256,
        }
        if recording.fields:
            line["request"] = recording.fields
        if recording.metadata:
            line["manifest"] = recording.metadata
        line |= result
        offset = os.fstat(self._file.fileno()).st_size
        # ASCII, since a file's name may hold bytes that are no UTF-8.
        data = memoryview(json.dumps(line).encode() + b"\n")
        while data:
            data = data[self._file.write(data) :]
        os.fsync(self._file.fileno())
        self._enter(line, offset)

    def compact(self) -> None:
        """One line for each recording: drops those that later lines replaced."""
        if self._lines == len(self._entries):
            return
        temporary = self.path.with_suffix(".part")
        with self.path.open("rb") as lines, temporary.open("wb") as kept:
            for entry in sorted(self._entries.values(), key=lambda entry: entry.offset):
                lines.seek(entry.offset)
                kept.write(lines.readline())
            kept.flush()
            os.fsync(kept.fileno())
        temporary.replace(self.path)

    def failures(self, recordings: Iterable[Recording]) -> list[tuple[str, str]]:
        """(name, message) of those whose last word is an error."""
        entries = ((recording.name, self._entries.get(recording.name)) for recording in recordings)
        return [(name, entry.error["message"]) for name, entry in entries if entry and entry.error]
