"""Parses the text that VibeVoice-ASR writes into segments as it streams in.

The model writes a JSON array of {"Start", "End", "Speaker", "Content"}. Only this file deals with
its keys, their variants and the model's mistakes (an `assistant` line in front, integer times, no
speaker on noises, a truncated end, no JSON at all).
"""

import json
import math
import re
from typing import Any

from vibevoice_core.speakers import label
from vibevoice_proxy.transcription.transcript import Segment

_FIELDS = {
    "start": "start",
    "start time": "start",
    "end": "end",
    "end time": "end",
    "speaker": "speaker",
    "speaker id": "speaker",
    "content": "text",
    "text": "text",
}
_NO_SPEAKER = {"", "n/a", "na", "none", "null", "unknown"}
_ASSISTANT = "assistant\n"
_NEXT_OBJECT = re.compile(r'\s*,\s*\{\s*"')
_MAYBE_NEXT_OBJECT = re.compile(r"\s*(,\s*(\{\s*)?)?")
_OPENING = re.compile(r'\s*,\s*\{\s*"[^"]*"\s*:')
_LOOSE_FIELD = re.compile(
    r'"(start(?: time)?|end(?: time)?|speaker(?: id)?)"\s*:\s*("[^"]*"|[-\w.]+)', re.IGNORECASE
)
_LOOSE_CONTENT = re.compile(r'"content"\s*:\s*"(.*)', re.IGNORECASE | re.DOTALL)
_LOOSE_END = re.compile(r'"\s*\}?\s*\]?\s*\Z')


class TranscriptDecoder:
    """Turns the model's text, in chunks of any size, into segments.

    `feed(text)` returns the completed segments. `finish()` returns what is left at the end: a
    truncated last segment or, if the model did not write JSON, its plain text as one segment.
    Times are clamped to the recording, and speakers are labeled in order of appearance.
    """

    def __init__(self, duration: float) -> None:
        """`duration`: length of the recording in seconds."""
        self.complete = False
        """Whether the model finished its output: it closed the array, or wrote plain text."""
        self._duration = duration
        self._buffer = ""
        self._searched = 0
        self._is_json: bool | None = None
        self._labels: dict[str, str] = {}
        self._last_end = 0.0
        self._written: list[str] = []
        self._length = 0
        self._ends: list[int] = []

    def feed(self, text: str) -> list[Segment]:
        """The segments completed by `text`."""
        if self.complete:
            return []
        self._written.append(text)
        self._length += len(text)
        self._buffer += text
        if self._is_json is None:
            self._is_json = self._looks_like_json()
        segments = []
        if self._is_json:
            while (fields := self._next_object()) is not None:
                found = self._segment(fields)
                segments += found
                self._ends += [self._length - len(self._buffer)] * len(found)
        return segments

    @property
    def is_plain_text(self) -> bool:
        """Whether the model wrote something other than the requested JSON array."""
        return self._is_json is False

    def text_through(self, segments: int) -> str:
        """The model's text up to the end of the given number of segments; empty for 0.

        Feeding it to a new decoder brings that one to the same state. If the model has begun
        another segment, its beginning up to the first colon is included: the tokenizer makes one
        token of `"},{"`, and the model continues well only at a token boundary.
        """
        if not segments:
            return ""
        text, end = "".join(self._written), self._ends[segments - 1]
        opening = _OPENING.match(text, end)
        return text[: opening.end() if opening else end]

    @property
    def open_segment(self) -> tuple[str, float | None]:
        """The raw text of the segment that is being written, and the length in seconds that it
        states (None if unknown)."""
        if self._is_json is False:
            return self._buffer, self._duration
        content = _LOOSE_CONTENT.search(self._buffer)
        if content is None:
            return self._buffer, None
        fields = _salvage(self._buffer[: content.start()])
        if "start" not in fields or "end" not in fields:
            return content[1], None
        start = self._seconds(fields["start"], self._last_end)
        return content[1], max(0.0, self._seconds(fields["end"], start) - start)

    def finish(self) -> list[Segment]:
        """The segments that are completed by the end of the text."""
        rest, self._buffer = self._buffer.strip(), ""
        if self.complete:
            return []
        if self._is_json:
            return self._segment(_salvage(rest))
        if self._is_json is None:
            rest = rest.removeprefix(_ASSISTANT.strip()).strip(" \n[")
        self.complete = bool(rest)
        return self._segment({"start": 0, "end": self._duration, "text": rest})

    def _looks_like_json(self) -> bool | None:
        """Whether the text is the requested JSON array; None while it is too short to tell."""
        text = self._buffer.lstrip()
        if _ASSISTANT.startswith(text):
            return None
        text = text.removeprefix(_ASSISTANT).lstrip()
        inner = text.removeprefix("[").lstrip()
        if not inner:
            return None
        self._buffer = inner if text != inner and inner[0] in "{]" else text
        return inner[0] == "{" or (text != inner and inner[0] == "]")

    def _next_object(self) -> dict[str, Any] | None:
        """Take the next complete object from the buffer; salvage a malformed one."""
        stripped = self._buffer.lstrip(" \t\r\n,")
        self._searched = max(0, self._searched - (len(self._buffer) - len(stripped)))
        self._buffer = stripped
        if stripped.startswith("]"):
            self.complete = True
            return None
        while (brace := self._buffer.find("}", self._searched)) >= 0:
            candidate, rest = self._buffer[: brace + 1], self._buffer[brace + 1 :]
            fields = _parse(candidate)
            if fields is None and _NEXT_OBJECT.match(rest):
                fields = _salvage(candidate)
            if fields is not None:
                self._buffer, self._searched = rest, 0
                return fields
            if _MAYBE_NEXT_OBJECT.fullmatch(rest):
                return None  # the next characters decide whether this brace ends the object
            self._searched = brace + 1
        return None

    def _segment(self, fields: dict[str, Any]) -> list[Segment]:
        text = fields.get("text")
        if not isinstance(text, str):
            return []
        text = text.encode("utf-8", "replace").decode().strip()  # "\ud800" is JSON, not Unicode
        if not text or text.casefold() == "[silence]":
            return []
        start = self._seconds(fields.get("start"), self._last_end)
        end = max(start, self._seconds(fields.get("end"), start))
        self._last_end = end
        return [Segment(start, end, self._label(fields.get("speaker")), text)]

    def _seconds(self, value: Any, default: float) -> float:
        try:
            seconds = float(value)
        except (TypeError, ValueError, OverflowError):
            return default
        return min(max(seconds, 0.0), self._duration) if math.isfinite(seconds) else default

    def _label(self, speaker: Any) -> str | None:
        name = "" if speaker is None else str(speaker).strip().casefold()
        name = name.removeprefix("speaker").strip(" _")
        if name in _NO_SPEAKER:
            return None
        return self._labels.setdefault(name, label(len(self._labels)))


def _parse(text: str) -> dict[str, Any] | None:
    """The known fields of one JSON object; None if `text` is not one."""
    try:
        value = json.loads(text, strict=False)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    names = {key: _FIELDS.get(key.casefold().replace("_", " ").strip()) for key in value}
    return {name: value[key] for key, name in names.items() if name is not None}


def _salvage(text: str) -> dict[str, Any]:
    """The readable fields of a truncated or malformed object."""
    content = _LOOSE_CONTENT.search(text)
    head = text[: content.start()] if content else text
    fields: dict[str, Any] = {
        _FIELDS[key.casefold()]: value.strip('"') for key, value in _LOOSE_FIELD.findall(head)
    }
    if content:
        raw = _LOOSE_END.sub("", content[1])
        try:
            fields["text"] = json.loads(f'"{raw}"', strict=False)
        except ValueError:
            fields["text"] = raw.rstrip("\\")
    return fields
