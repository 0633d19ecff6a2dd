"""A transcript as a file: JSON, subtitles or text, written as a whole or not at all."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vibevoice_core.speakers import UNKNOWN
from vibevoice_core.subtitles import Cue, Limits, srt, vtt

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
    """A line for each segment, with its speaker where there are several."""
    cues = _cues(transcript)
    several = len({cue.speaker for cue in cues} - {None}) > 1
    return "".join(
        f"{cue.speaker}: {text}\n" if several and cue.speaker else f"{text}\n"
        for cue in cues
        for text in [" ".join(cue.text.split())]
    )


def _cues(transcript: Transcript) -> list[Cue]:
    return [
        Cue(part["start"], part["end"], _named(part["speaker"]), part["text"])
        for part in transcript["segments"]
    ]


def _named(speaker: str) -> str | None:
    return None if speaker == UNKNOWN else speaker


FORMATS: dict[str, Callable[[Transcript], str]] = {
    "json": _json,
    "srt": lambda transcript: srt(_cues(transcript), Limits()),
    "vtt": lambda transcript: vtt(_cues(transcript), Limits()),
    "txt": _txt,
}
