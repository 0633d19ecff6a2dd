"""A transcript as a file: JSON, subtitles or text, written as a whole or not at all."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from vibevoice_core.speakers import UNKNOWN

Transcript = dict[str, Any]
"""A `diarized_json` answer: `text`, `duration` (seconds), `segments` with `start`, `end` (seconds),
`speaker` and `text` (openai 3.52, TranscriptionDiarized)."""


def write(output: Path, name: str, transcript: Transcript, formats: Iterable[str]) -> None:
    """`transcript` of the recording `name` in each of FORMATS, below the folder `output`."""
    for format in formats:
        replace(path(output, name, format), FORMATS[format](transcript))


def path(output: Path, name: str, format: str) -> Path:
    """Where a transcript is: the recording's own name and the format's, so no two are the same."""
    return output / f"{name}.{format}"


def replace(target: Path, text: str) -> None:
    """`text` at `target`, which has either its old content or all of the new one at any moment."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # Always the same name, so that what a killed run left is overwritten by the next. One thread
    # of one process writes at a time: see Journal's lock.
    temporary = target.parent / ".vibevoice.part"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)


def _json(transcript: Transcript) -> str:
    return json.dumps(transcript, ensure_ascii=False) + "\n"


def _txt(transcript: Transcript) -> str:
    return "".join(f"{text}\n" for _, text in _cues(transcript, "{}: {}"))


def _srt(transcript: Transcript) -> str:
    return "\n".join(
        f"{number}\n{_times(segment, ',')}\n{text}\n"
        for number, (segment, text) in enumerate(_cues(transcript, "{}: {}"), 1)
    )


def _vtt(transcript: Transcript) -> str:
    # https://www.w3.org/TR/webvtt1/#webvtt-cue-text: these three are escaped, `-->` with them.
    escapes = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
    cues = _cues(transcript, "<v {}>{}", escapes)
    return "\n".join(["WEBVTT\n", *(f"{_times(cue, '.')}\n{text}\n" for cue, text in cues)])


def _cues(
    transcript: Transcript, named: str, escapes: dict[int, str] | None = None
) -> Iterator[tuple[dict[str, Any], str]]:
    """Each segment and its text in one line (a blank one would end a cue), with the speaker where
    there are several."""
    segments = transcript["segments"]
    several = len({segment["speaker"] for segment in segments} - {UNKNOWN}) > 1
    for segment in segments:
        text = " ".join(segment["text"].split()).translate(escapes or {})
        is_named = several and segment["speaker"] != UNKNOWN
        yield segment, named.format(segment["speaker"], text) if is_named else text


def _times(segment: dict[str, Any], decimal_mark: str) -> str:
    start, end = (_time(segment[key], decimal_mark) for key in ("start", "end"))
    return f"{start} --> {end}"


def _time(seconds: float, decimal_mark: str) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}{decimal_mark}{milliseconds:03d}"


FORMATS: dict[str, Callable[[Transcript], str]] = {
    "json": _json,
    "srt": _srt,
    "vtt": _vtt,
    "txt": _txt,
}
