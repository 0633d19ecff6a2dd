"""Builds the transcript from the events: lines with speakers and times, and words of open turns."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from vibevoice_batch.outputs import FORMATS
from vibevoice_core.speakers import UNKNOWN
from vibevoice_live import events
from vibevoice_live.events import ServerEvent

NOT_TRANSCRIBED = "[not transcribed]"
"""Text that marks missing parts in subtitles and text files."""


@dataclass(frozen=True, slots=True)
class Line:
    """Words of one speaker, or a part without a transcript."""

    start: float
    """Start, in seconds of the audio that was sent."""
    end: float
    """Seconds."""
    text: str
    speaker: str | None = None
    """None if unknown."""
    missing: str | None = None
    """Why there is no transcript; None if there is one."""


@dataclass(slots=True)
class _Turn:
    start: float
    end: float | None = None
    deltas: str = ""
    words: int = 0
    """Number of words in the segments so far."""
    has_segments: bool = False


@dataclass(slots=True)
class Transcript:
    """The transcript of one session, as it grows."""

    lines: list[Line] = field(default_factory=list[Line])
    errors: list[str] = field(default_factory=list[str])
    """Messages of the server's errors."""
    _turns: dict[str, _Turn] = field(default_factory=dict[str, _Turn])
    """Open turns, by item id."""

    @property
    def open_words(self) -> str:
        """Words of open turns that are not in any line yet."""
        rests = (" ".join(turn.deltas.split()[turn.words :]) for turn in self._turns.values())
        return " ".join(filter(None, rests))

    @property
    def is_complete(self) -> bool:
        """Whether no part is missing and the server reported no error."""
        return not self.errors and not any(line.missing for line in self.lines)

    def take(self, event: ServerEvent, sent: float) -> list[Line]:
        """Add an event; returns the new lines. `sent`: seconds of audio sent so far."""
        match event:
            case events.SpeechStarted():
                self._turns[event.item_id] = _Turn(event.audio_start_ms / 1000)
            case events.SpeechStopped():
                self._turn(event.item_id).end = event.audio_end_ms / 1000
            case events.Committed():
                turn = self._turn(event.item_id)
                turn.end = sent if turn.end is None else turn.end
            case events.Delta():
                self._turn(event.item_id).deltas += event.delta
            case events.Segment():
                turn = self._turn(event.item_id)
                turn.has_segments = True
                turn.words += len(event.text.split())
                speaker = None if event.speaker == UNKNOWN else event.speaker or None
                return self._add([Line(event.start, event.end, event.text, speaker)])
            case events.Completed():
                return self._add(_rest(self._close(event.item_id), event, sent))
            case events.Failed():
                turn = self._close(event.item_id)
                return self._add([_lost(turn, sent, event.error.message)])
            case events.ErrorEvent():
                self.errors.append(event.error.message)
            case _:
                pass
        return []

    def lose(self, sent: float, reason: str) -> list[Line]:
        """Mark the audio without a transcript after the session was lost; returns the new lines.

        Args:
            sent: seconds of audio sent.
        """
        start = min((turn.start for turn in self._turns.values()), default=self._end())
        self._turns.clear()
        if sent <= start:
            return []
        return self._add([Line(start, sent, NOT_TRANSCRIBED, missing=reason)])

    def document(self, seconds: float) -> dict[str, Any]:
        """OpenAI's `diarized_json` for audio of `seconds`, with `missing` as the proxy has it."""
        spoken = [line for line in self._sorted() if not line.missing]
        document: dict[str, Any] = {
            "text": " ".join(line.text for line in spoken),
            "duration": round(seconds, 3),
            "segments": list(map(_segment, spoken)),
        }
        missing = [
            {"start": line.start, "end": line.end, "reason": line.missing}
            for line in self._sorted()
            if line.missing
        ]
        return {**document, "missing": missing} if missing else document

    def written(self, name: str, format: str, seconds: float) -> str:
        """The text of a file in one of FORMATS; missing parts are marked. `name` is that of
        the recording in RTTM."""
        document = self.document(seconds)
        if format != "json":
            document["segments"] = list(map(_segment, self._sorted()))
        return FORMATS[format](name, document)

    def _turn(self, item_id: str) -> _Turn:
        """The turn of an item. A turn that the client committed starts where the last line ends."""
        return self._turns.setdefault(item_id, _Turn(self._end()))

    def _close(self, item_id: str) -> _Turn:
        return self._turns.pop(item_id, _Turn(self._end()))

    def _add(self, lines: Iterable[Line]) -> list[Line]:
        new = list(lines)
        self.lines += new
        return new

    def _end(self) -> float:
        return max((line.end for line in self.lines), default=0.0)

    def _sorted(self) -> list[Line]:
        return sorted(self.lines, key=lambda line: line.start)


def _rest(turn: _Turn, event: events.Completed, sent: float) -> Iterator[Line]:
    """The lines of `completed` that its segments do not have yet."""
    text = " ".join(event.transcript.split())
    if text and not turn.has_segments:  # OpenAI sends segments only with a diarizing model
        yield Line(turn.start, sent if turn.end is None else turn.end, text)
    for part in event.missing:
        yield Line(part.start, part.end, NOT_TRANSCRIBED, missing=part.reason)


def _lost(turn: _Turn, sent: float, reason: str) -> Line:
    end = sent if turn.end is None else turn.end
    return Line(turn.start, end, NOT_TRANSCRIBED, missing=reason)


def _segment(line: Line) -> dict[str, Any]:
    return {
        "type": "transcript.text.segment",
        "start": line.start,
        "end": line.end,
        "speaker": line.speaker or UNKNOWN,
        "text": line.text,
    }
