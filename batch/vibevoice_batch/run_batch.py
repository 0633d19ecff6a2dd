"""Writes request files for vLLM's offline `run-batch`, and reads its results.

A line requests `/v1/audio/transcriptions` in `diarized_json` with the recording as a data: URL, so
the engine's plugin writes the prompt. `custom_id` is the request's key (`journal.request_key`), so
the same content is requested once and each result can be matched to its files.
"""

import base64
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vibevoice_batch.client import read_transcript
from vibevoice_batch.errors import Failure, InputError
from vibevoice_batch.journal import read_content, request_key
from vibevoice_batch.outputs import Transcript
from vibevoice_batch.recordings import Recording
from vibevoice_batch.run import NotThere
from vibevoice_core.penalties import TEMPERATURE, Penalties
from vibevoice_core.speakers import UNKNOWN, label

_BLOCK = 3 * 2**18
_FIRST = b'{"custom_id": "'
"""How a line begins."""


@dataclass(frozen=True, slots=True)
class RequestsWritten:
    """What a request file contains."""

    count: int
    size: int
    """Bytes."""
    unreadable: list[tuple[str, str]]
    """(name, message) of recordings that could not be included."""


def check_requests(target: Path) -> None:
    """Raises InputError if `target` exists but is not a request file, which would be overwritten,
    or if its folder does not exist."""
    if not target.absolute().parent.is_dir():
        raise InputError(f"--requests {target}: the folder {target.parent} does not exist")
    if not os.path.lexists(target):
        return
    if not target.is_file():
        raise InputError(f"--requests {target} is not a file")
    with target.open("rb") as file:
        begins = file.read(len(_FIRST))
    if begins and begins != _FIRST:
        raise InputError(f"--requests {target} exists but contains no requests: use another name")


def decoding(penalties: Penalties) -> dict[str, Any]:
    """The parameters that the engine's middleware pins over HTTP; run-batch has no middleware."""
    return {"temperature": TEMPERATURE, "vllm_xargs": penalties.as_xargs()}


def write_requests(
    recordings: Iterable[Recording], model: str, penalties: Penalties, target: Path
) -> RequestsWritten:
    """Write a line to `target` for each distinct content. The file is written completely or not at
    all.

    Raises OSError if it cannot be written.
    """
    keys: set[str] = set()
    unreadable: list[tuple[str, str]] = []
    temporary = target.with_name(".vibevoice-requests.part")
    try:
        with temporary.open("wb") as file:
            for recording in recordings:
                begin = file.tell()
                try:
                    key = request_key(read_content(recording.path).sha256, recording.fields)
                    if key not in keys:
                        file.writelines(_line(recording, key, model, penalties))
                        keys.add(key)
                except Failure as failure:
                    file.seek(begin)
                    file.truncate()
                    unreadable.append((recording.name, str(failure)))
            size = file.tell()
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return RequestsWritten(len(keys), size, unreadable)


def _line(recording: Recording, key: str, model: str, penalties: Penalties) -> Iterator[bytes]:
    """One request in chunks, so that the whole recording is never in memory.

    Raises Failure if it cannot be read.
    """
    fields = dict(recording.fields)
    keywords = fields.pop("keywords", [])
    words = [fields.pop("hotwords", ""), *([keywords] if isinstance(keywords, str) else keywords)]
    if any(words):
        # vLLM has no `keywords`; for the model, both are extra information.
        fields["hotwords"] = ", ".join(filter(None, words))
    head = "data:application/octet-stream;base64,"
    body = {
        "model": model,
        "response_format": "diarized_json",
        **fields,
        **decoding(penalties),
        "file_url": head,
    }
    url = "/v1/audio/transcriptions"
    request = {"custom_id": key, "method": "POST", "url": url, "body": body}
    before, after = json.dumps(request).encode().rsplit(head.encode(), 1)
    yield before + head.encode()
    try:
        with recording.path.open("rb") as audio:
            while block := audio.read(_BLOCK):
                yield base64.b64encode(block)
    except OSError as error:
        raise Failure(f"cannot be read: {error.strerror}") from error
    yield after + b"\n"


class Results:
    """The responses in run-batch's output files, by key."""

    def __init__(self, files: Iterable[Path]) -> None:
        """Raises InputError if a file cannot be read, or a line is not a result."""
        self._answers: dict[str, dict[str, Any]] = {}
        for file in files:
            try:
                with file.open("rb") as lines:
                    self._read(file, lines)
            except OSError as error:
                raise InputError(f"--results {file} cannot be read: {error.strerror}") from error

    def _read(self, file: Path, lines: Iterable[bytes]) -> None:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                answer = json.loads(line)
                self._answers[answer["custom_id"]] = answer
            except (ValueError, KeyError, TypeError):
                raise InputError(f"{file}, line {number} is not a run-batch result") from None

    async def ask(self, _: Recording, key: str) -> Transcript:
        """The transcript for a key. Raises NotThere if it was not requested; Failure."""
        if (answer := self._answers.get(key)) is None:
            raise NotThere
        response = answer.get("response")
        response = response if isinstance(response, dict) else {}
        if error := answer.get("error"):
            raise Failure(_message(error), response.get("status_code"))
        transcript = read_transcript(response.get("body"))
        return {**transcript, "segments": _with_letters(transcript["segments"])}


def _message(error: Any) -> str:
    """The text of an error, in any of the forms that run-batch uses."""
    while isinstance(error, dict):
        error = error.get("error") or error.get("message")
    return str(error)


def _with_letters(segments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rename speakers as the proxy and OpenAI do: A, B, … in order of appearance."""
    labels: dict[str, str] = {"": UNKNOWN}
    for segment in segments:
        labels.setdefault(segment["speaker"], label(len(labels) - 1))
    return [{**segment, "speaker": labels[segment["speaker"]]} for segment in segments]
