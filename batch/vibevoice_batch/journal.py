"""The journal `transcripts.jsonl`: one line per recording, appended as responses arrive.

A transcript is on disk here before its own files are written. After a crash at any moment, they are
written from the journal, and nothing is transcribed twice. A line:

    {"file", "path", "size", "mtime_ns", "sha256", "request"?, "manifest"?, "formats",
     "transcript" | "error"}

If a recording has several lines, the last one counts. `formats` are those whose output files belong
to it.
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

from vibevoice_batch.errors import Failure
from vibevoice_batch.outputs import TEMPORARY, Transcript
from vibevoice_batch.products import FIRST, JOURNAL, claimed_formats
from vibevoice_batch.recordings import Recording

logger = logging.getLogger("vibevoice_batch")


class JournalError(Exception):
    """The journal cannot be used. The message says why."""


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a recording when it was read."""

    size: int
    mtime_ns: int
    sha256: str
    """Hexadecimal; empty if it could not be read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the journal and its position in the file."""

    offset: int
    path: str
    content: Content
    key: str
    error: dict[str, Any] | None
    truncated: str
    """Why the transcript is incomplete, such as `loop,length`; empty if it is complete."""
    formats: frozenset[str]
    """Formats whose output files belong to this recording."""

    @property
    def is_final(self) -> bool:
        """Whether a retry would give the same result: a transcript, or a rejection of the file."""
        status = (self.error or {}).get("status")
        return self.error is None or (status in range(400, 500) and status != 408)


def read_content(path: Path) -> Content:
    """Size, time, and hash of the file at `path`. Raises Failure if it cannot be read."""
    try:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Failure(f"cannot be read: {error.strerror}") from error
    return Content(stat.st_size, stat.st_mtime_ns, sha256)


def request_key(sha256: str, fields: dict[str, Any]) -> str:
    """A key that is equal for requests with the same transcript: same bytes, same fields."""
    if not fields:
        return sha256
    return hashlib.sha256(f"{sha256} {json.dumps(fields, sort_keys=True)}".encode()).hexdigest()


class Journal:
    """The journal in a folder of transcripts. A context manager that only one process at a time
    can enter."""

    def __init__(self, output: Path) -> None:
        self.path = output / JOURNAL
        self._entries: dict[str, Entry] = {}
        self._done: dict[str, Entry] = {}
        """Transcripts by key."""
        self._lines = 0

    def __enter__(self) -> Self:
        """Raises OSError, and JournalError if another process writes here or the file is
        foreign."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise JournalError(f"another run is writing to {self.path.parent}") from None
        try:
            self._load()
        except BaseException:
            self._file.close()
            raise
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
                    logger.warning("%s, line %d is invalid and is skipped", self.path, number)
                    self._lines += 1
                offset = end = offset + len(line)
        size = os.fstat(self._file.fileno()).st_size
        is_torn = not self._lines and self._begins_as_a_line()
        if size and not self._entries and not is_torn:
            raise JournalError(f"{self.path} was not written by this program: use another -o")
        if size != end:
            # A kill during a write leaves a line without an end.
            self._file.truncate(end)

    def _begins_as_a_line(self) -> bool:
        with self.path.open("rb") as lines:
            return FIRST.startswith(lines.read(len(FIRST)))

    def _enter(self, line: dict[str, Any], offset: int) -> None:
        content = Content(line["size"], line["mtime_ns"], line["sha256"])
        key = request_key(content.sha256, line.get("request", {}))
        formats = frozenset(claimed_formats(line))
        error, truncated = line.get("error"), line.get("transcript", {}).get("truncated")
        entry = Entry(offset, line["path"], content, key, error, str(truncated or ""), formats)
        self._lines += 1
        self._entries[line["file"]] = entry
        if entry.error is None:
            self._done[key] = entry

    def entry(self, recording: Recording) -> Entry | None:
        """The entry of a recording that has not changed since; otherwise None."""
        entry = self._entries.get(recording.name)
        if entry is None or entry.key != request_key(entry.content.sha256, recording.fields):
            return None
        if entry.path != str(recording.path):
            return None  # moved, or another recording: its content decides
        try:
            stat = recording.path.stat()
        except OSError:
            return entry
        now = stat.st_size, stat.st_mtime_ns
        return entry if now == (entry.content.size, entry.content.mtime_ns) else None

    def named(self, name: str) -> Entry | None:
        """The last entry written under a name, whatever its file."""
        return self._entries.get(name)

    def done(self, key: str) -> Entry | None:
        """The entry of a transcript for these bytes and fields, whatever its file."""
        return self._done.get(key)

    def transcript(self, entry: Entry) -> Transcript:
        """The transcript of an entry that has no error."""
        return self._line(entry)["transcript"]

    def _line(self, entry: Entry) -> dict[str, Any]:
        with self.path.open("rb") as lines:
            lines.seek(entry.offset)
            return json.loads(lines.readline())

    def add(
        self,
        recording: Recording,
        content: Content,
        result: dict[str, Any],
        formats: Iterable[str] = (),
    ) -> None:
        """Save `result`, {"transcript": …} or {"error": …}. It is on disk when this returns.

        `formats`: those whose output files belong, or will belong, to this recording. Raises
        OSError.
        """
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
        self._append({**line, "formats": sorted(formats), **result})

    def claim(self, name: str, formats: Iterable[str]) -> None:
        """Assign the output files of `formats` to the recording of this name. Raises OSError."""
        entry = self._entries[name]
        if missing := set(formats) - entry.formats:
            self._append({**self._line(entry), "formats": sorted(entry.formats | missing)})

    def _append(self, line: dict[str, Any]) -> None:
        offset = os.fstat(self._file.fileno()).st_size
        # ASCII, since a file's name may contain bytes that are not UTF-8.
        data = memoryview(json.dumps(line).encode() + b"\n")
        try:
            while data:
                data = data[self._file.write(data) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            # The next line must not be joined to half of this one.
            self._file.truncate(offset)
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._enter(line, offset)

    def compact(self) -> None:
        """Rewrite the journal with one line per recording, without the lines that later ones
        replaced."""
        if self._lines == len(self._entries):
            return
        temporary = self.path.with_name(TEMPORARY)
        try:
            with self.path.open("rb") as lines, temporary.open("wb") as kept:
                for entry in sorted(self._entries.values(), key=lambda entry: entry.offset):
                    lines.seek(entry.offset)
                    kept.write(lines.readline())
                kept.flush()
                os.fsync(kept.fileno())
            temporary.replace(self.path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            logger.warning("%s keeps outdated lines: %s", self.path, error.strerror)

    def failures(self, recordings: Iterable[Recording]) -> list[tuple[str, str]]:
        """(name, message) of those whose latest entry is an error."""
        entries = ((recording.name, self._entries.get(recording.name)) for recording in recordings)
        return [(name, entry.error["message"]) for name, entry in entries if entry and entry.error]

    def incomplete(self, recordings: Iterable[Recording]) -> list[tuple[str, str]]:
        """(name, reasons) of those whose transcript has missing parts."""
        entries = ((recording.name, self.entry(recording)) for recording in recordings)
        return [(name, entry.truncated) for name, entry in entries if entry and entry.truncated]
