"""Converts the events of a light-recognizer worker to the turns that clients see."""

from dataclasses import dataclass, field

from vibevoice_core.speakers import label
from vibevoice_light import Ended, LiveEvent, NewWords, Said, Segment, Started, Stopped
from vibevoice_proxy import live
from vibevoice_proxy.errors import ProxyError
from vibevoice_proxy.live import LiveSegment, LiveToken, MissingPart, TurnCommitted, TurnFailed


@dataclass(slots=True)
class _Turn:
    """A turn in progress."""

    start: float = 0.0
    """Start in seconds of the whole conversation."""
    end: float | None = None
    """End in seconds of the whole conversation; None until it is committed."""
    segments: list[LiveSegment] = field(default_factory=list[LiveSegment])
    missing: list[MissingPart] = field(default_factory=list[MissingPart])
    has_words: bool = False


class LightTurns:
    """The turns recognized by one worker. If the worker dies, another one continues."""

    def __init__(self, offset: float = 0.0, first: int = 0, speakers: int = 0) -> None:
        """`offset`: start of this worker's audio in the conversation, in seconds. `first`: number
        of turns before this worker. `speakers`: number of its first speaker."""
        self.speakers = speakers
        """Number of labels used. After a worker dies, all speakers get new labels because their
        voices are lost."""
        self._offset = offset
        self._first = self._last = first
        self._turns: dict[int, _Turn] = {}

    def following(self, offset: float) -> "LightTurns":
        """The turns of the next worker."""
        return LightTurns(offset, self._last, self.speakers)

    def translate(self, event: LiveEvent) -> list[live.LiveEvent]:
        """Convert `event` to the realtime wing's event."""
        number = self._first + event.utterance
        self._last = max(self._last, number)
        turn = self._turns.setdefault(number, _Turn())
        match event:
            case Started(_, start):
                turn.start = start + self._offset
                return [live.SpeechStarted(number, turn.start)]
            case NewWords(_, text):
                separator = " " if turn.has_words else ""
                turn.has_words = True
                return [live.NewWords(number, separator + text)]
            case Said(_, found):
                return self._say(number, turn, found)
            case Stopped(_, start, end, is_detected):
                turn.start, turn.end = start + self._offset, end + self._offset
                return [TurnCommitted(number, turn.start, turn.end, is_detected)]
            case Ended():
                del self._turns[number]
                assert turn.end is not None
                text = " ".join(segment.text for segment in turn.segments)
                seconds = round(turn.end - turn.start, 3)
                until = turn.segments[-1].end if turn.segments else turn.end
                return [live.TurnEnded(number, text, seconds, until, missing=turn.missing)]

    def clear(self) -> None:
        """Discard the open turn."""
        self._turns.clear()

    def fail(self, error: ProxyError, seconds: float, commands: list[str]) -> list[live.LiveEvent]:
        """The events that end all turns of a worker that failed, including those for `commands`
        (`commit`, `clear`) that it did not run. `seconds`: audio sent so far."""
        events: list[live.LiveEvent] = []
        for number, turn in self._turns.items():
            if turn.end is None:
                is_detected = "commit" not in commands
                if not is_detected:
                    commands.remove("commit")
                events.append(TurnCommitted(number, turn.start, seconds, is_detected))
            events.append(TurnFailed(number, error))
        self._turns.clear()
        for command in commands:
            if command == "clear":
                events.append(live.Cleared())
                continue
            self._last += 1
            events.append(TurnCommitted(self._last, self._offset, seconds, False))
            events.append(TurnFailed(self._last, error))
        return events

    def _say(self, number: int, turn: _Turn, found: Segment) -> list[live.LiveEvent]:
        self.speakers = max(self.speakers, found.speaker + 1)
        start, end = (round(at + self._offset, 3) for at in (found.start, found.end))
        if reason := found.missing_reason:
            turn.missing.append(MissingPart(start, end, reason))
        if found.is_unclear:
            return []
        tokens = [LiveToken(*token) for token in found.tokens if token.text]
        segment = LiveSegment(number, start, end, label(found.speaker), found.text, tokens)
        turn.segments.append(segment)
        return [segment]
