"""Saves the result of a recording: its line in the journal, and its files in each format."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from vibevoice_batch import outputs
from vibevoice_batch.errors import Failure
from vibevoice_batch.journal import Content, Entry, Journal
from vibevoice_batch.outputs import Transcript
from vibevoice_batch.recordings import Recording

NOT_WRITTEN = "transcribed, but its file cannot be written"


class Store:
    """The journal and the output files. A file not listed in the journal, such as notes on
    a recording, is foreign and never replaced."""

    def __init__(self, journal: Journal, output: Path, formats: Iterable[str]) -> None:
        self._journal = journal
        self._output = output
        self._formats = tuple(formats)

    def obstacle(self, recording: Recording, key: str) -> str | None:
        """Why a transcript of these bytes cannot be saved under the recording's name; None if it
        can."""
        other = self._other(recording)
        if other and other.key != key:
            return f"its transcript would replace that of {other.path}: use --base or another -o"
        return next(self._foreign(recording, self._formats), (None, None))[1]

    def _other(self, recording: Recording) -> Entry | None:
        """The transcript of another file that had the same name in an earlier run."""
        named = self._journal.named(recording.name)
        if named is None or named.error is not None or named.path == str(recording.path):
            return None
        return named if os.path.lexists(named.path) else None

    def _foreign(self, recording: Recording, formats: Iterable[str]) -> Iterator[tuple[str, str]]:
        """(format, reason) of output files that exist but are not ours."""
        named = self._journal.named(recording.name)
        for format in formats:
            target = outputs.path(self._output, recording.name, format)
            if os.path.lexists(target) and not (named and format in named.formats):
                yield (
                    format,
                    f"{target} was not written by this program: move it, or use another -o",
                )

    def keep(self, recording: Recording, content: Content, transcript: Transcript) -> str | None:
        """Save to the journal first, then to files; return why a file was not written, if any.

        Raises OSError if the journal cannot be written.
        """
        named = self._journal.named(recording.name)
        # Files in formats requested only earlier belong to the recording's old content.
        formats = {*self._formats, *(named.formats if named else ())}
        foreign = dict(self._foreign(recording, formats))
        ours = [format for format in outputs.FORMATS if format in formats - set(foreign)]
        self._journal.add(recording, content, {"transcript": transcript}, ours)
        return self._write(recording.name, transcript, ours) or next(iter(foreign.values()), None)

    def _write(self, name: str, transcript: Transcript, formats: Iterable[str]) -> str | None:
        try:
            outputs.write(self._output, name, transcript, formats)
        except OSError as error:
            # The transcript is in the journal; the next run writes the file.
            return f"{NOT_WRITTEN}: {error.strerror}"
        return None

    def fail(self, recording: Recording, content: Content, failure: Failure) -> None:
        """Save the error to the journal, and delete the files of the recording's old content. If
        the name belongs to another file, both stay as they are.

        Raises OSError if the journal cannot be written.
        """
        if self._other(recording):
            return
        named = self._journal.named(recording.name)
        left = set(named.formats if named else ())
        for format in sorted(left):
            try:
                outputs.path(self._output, recording.name, format).unlink(missing_ok=True)
                left.remove(format)
            except OSError:
                continue  # it stays claimed; the next attempt deletes it
        error = {"status": failure.status, "code": failure.code, "message": str(failure)}
        self._journal.add(recording, content, {"error": error}, left)

    def restore(self, recordings: Iterable[Recording]) -> Iterator[tuple[str, str]]:
        """Write missing files of transcripts that are in the journal.

        They are missing because a run was killed, or because their format is new. Yields (name,
        reason) of those that cannot be written.
        """
        for recording in recordings:
            entry = self._journal.entry(recording)
            if entry is None or entry.error is not None:
                continue
            foreign = dict(self._foreign(recording, self._formats))
            yield from ((recording.name, why) for why in foreign.values())
            missing = [
                format
                for format in self._formats
                if format not in foreign and not os.path.exists(self._path(recording, format))
            ]
            if missing:
                self._journal.claim(recording.name, missing)
                transcript = self._journal.transcript(entry)
                if why := self._write(recording.name, transcript, missing):
                    yield recording.name, why

    def _path(self, recording: Recording, format: str) -> Path:
        return outputs.path(self._output, recording.name, format)
