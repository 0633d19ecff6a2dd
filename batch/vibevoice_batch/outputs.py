"""Writes transcripts as JSON, subtitle, text, or RTTM files, each completely or not at all."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from vibevoice_core.speakers import UNKNOWN, on_one_line
from vibevoice_core.subtitles import Cue, Limits, srt, vtt

Transcript = dict[str, Any]
"""A `diarized_json` response: `text`, `duration` (seconds), `segments` with `start`, `end`
(seconds), `speaker`, and `text` (openai 3.52, TranscriptionDiarized)."""

LONGEST_NAME = 255
"""Maximum bytes of a file name on Linux and macOS file systems."""
TEMPORARY = ".vibevoice.part"
"""Name of a file while it is being written."""


def write(output: Path, name: str, transcript: Transcript, formats: Iterable[str]) -> None:
    """Write `transcript` of the recording `name` in each of `formats`, below the folder
    `output`."""
    for format in formats:
        replace(path(output, name, format), FORMATS[format](name, transcript))


def path(output: Path, name: str, format: str) -> Path:
    """The path of a transcript: the recording's full name plus the format's, so no two collide.

    A name that is too long for the file system is cut and ends with its hash.
    """
    target = output / f"{name}.{format}"
    last = os.fsencode(target.name)
    if len(last) <= LONGEST_NAME:
        return target
    end = f"~{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.{format}"
    return target.with_name(last[: LONGEST_NAME - len(end)].decode(errors="ignore") + end)


def seconds(transcript: Transcript) -> float:
    """The length of the recording; 0 if the server did not report it."""
    duration = transcript.get("duration")
    if isinstance(duration, int | float) and math.isfinite(duration):
        return float(duration)
    return 0.0


def replace(target: Path, text: str) -> None:
    """Write `text` to `target` atomically: at any moment it has its old content or the new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # The name is always the same, so the next run overwrites what a killed run left behind. Only
    # one thread of one process writes at a time: see Journal's lock.
    temporary = target.parent / TEMPORARY
    try:
        # A server may send a lone surrogate, which UTF-8 cannot encode.
        with temporary.open("w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _json(_: str, transcript: Transcript) -> str:
    return json.dumps(transcript, ensure_ascii=False) + "\n"


def _txt(_: str, transcript: Transcript) -> str:
    """A line per segment, with its speaker if there is more than one."""
    cues = _cues(transcript)
    several = len({cue.speaker for cue in cues} - {None}) > 1
    return "".join(
        f"{cue.speaker}: {text}\n" if several and cue.speaker else f"{text}\n"
        for cue in cues
        for text in [" ".join(cue.text.split())]
    )


def _rttm(name: str, transcript: Transcript) -> str:
    """RTTM, the speaker diarization format of NIST's Rich Transcription evaluations: a line for
    each segment with a speaker. Fields contain no spaces; the recording is named after its file,
    without folders and extension."""
    recording = _word(PurePosixPath(name).stem)
    return "".join(
        f"SPEAKER {recording} 1 {cue.start:.3f} {max(0.0, cue.end - cue.start):.3f} <NA> <NA> "
        f"{_word(cue.speaker)} <NA> <NA>\n"
        for cue in _cues(transcript)
        if cue.speaker
    )


def _word(text: str) -> str:
    return "_".join(text.split()) or "_"


def _cues(transcript: Transcript) -> list[Cue]:
    return [
        Cue(part["start"], part["end"], _named(part["speaker"]), part["text"])
        for part in transcript["segments"]
    ]


def _named(speaker: str) -> str | None:
    return None if speaker == UNKNOWN else on_one_line(speaker) or None


FORMATS: dict[str, Callable[[str, Transcript], str]] = {
    "json": _json,
    "srt": lambda _, transcript: srt(_cues(transcript), Limits()),
    "vtt": lambda _, transcript: vtt(_cues(transcript), Limits()),
    "txt": _txt,
    "rttm": _rttm,
}
