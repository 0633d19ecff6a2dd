"""The files of vLLM's offline `run-batch`: requests written, results read.

A line asks for `/v1/audio/transcriptions` in `diarized_json` with the recording as a data: URL, so
the engine's plugin writes the model's prompt. `custom_id` is the request's key (see
`journal.request_key`), so the same content is asked for once, and results find their files again.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vibevoice_batch.client import Failure, read_transcript
from vibevoice_batch.journal import read_content, request_key
from vibevoice_batch.outputs import Transcript
from vibevoice_batch.recordings import InputError, Recording
from vibevoice_batch.run import NotThere
from vibevoice_core.penalties import PINNED, TEMPERATURE
from vibevoice_core.speakers import UNKNOWN, label

DECODING = {"temperature": TEMPERATURE, "vllm_xargs": PINNED.as_xargs()}
"""What the engine's middleware pins for requests over HTTP, which run-batch goes without."""

_BLOCK = 3 * 2**18


@dataclass(frozen=True, slots=True)
class RequestsWritten:
    """What a file of requests holds."""

    count: int
    size: int
    """Bytes."""
    unreadable: list[tuple[str, str]]
    """(name, message) of recordings that are not in it."""


def write_requests(recordings: Iterable[Recording], model: str, target: Path) -> RequestsWritten:
    """A line in `target` for each content among `recordings`; it is there whole or not at all.

    Raises OSError: it cannot be written.
    """
    keys: set[str] = set()
    unreadable: list[tuple[str, str]] = []
    temporary = target.with_name(f".{target.name}.part")
    with temporary.open("wb") as file:
        for recording in recordings:
            try:
                key = request_key(read_content(recording.path).sha256, recording.fields)
            except OSError as error:
                unreadable.append((recording.name, f"cannot be read: {error.strerror}"))
                continue
            if key not in keys:
                keys.add(key)
                file.writelines(_line(recording, key, model))
        size = file.tell()
    temporary.replace(target)
    return RequestsWritten(len(keys), size, unreadable)


def _line(recording: Recording, key: str, model: str) -> Iterator[bytes]:
    """One request in pieces, so that the recording is never in memory as a whole."""
    fields = dict(recording.fields)
    keywords = fields.pop("keywords", [])
    words = [fields.pop("hotwords", ""), *([keywords] if isinstance(keywords, str) else keywords)]
    if any(words):
        # vLLM has no `keywords`; to the model both are extra information.
        fields["hotwords"] = ", ".join(filter(None, words))
    head = "data:application/octet-stream;base64,"
    body = {
        "model": model,
        "response_format": "diarized_json",
        **fields,
        **DECODING,
        "file_url": head,
    }
    url = "/v1/audio/transcriptions"
    request = {"custom_id": key, "method": "POST", "url": url, "body": body}
    before, after = json.dumps(request).encode().rsplit(head.encode(), 1)
    yield before + head.encode()
    with recording.path.open("rb") as audio:
        while block := audio.read(_BLOCK):
            yield base64.b64encode(block)
    yield after + b"\n"


class Results:
    """The answers in run-batch's output files, by key."""

    def __init__(self, files: Iterable[Path]) -> None:
        """Raises InputError: a line is no result; OSError."""
        self._answers: dict[str, dict[str, Any]] = {}
        for file in files:
            with file.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    try:
                        answer = json.loads(line)
                        self._answers[answer["custom_id"]] = answer
                    except (ValueError, KeyError, TypeError):
                        raise InputError(
                            f"{file}, line {number} is no result of run-batch"
                        ) from None

    async def ask(self, _: Recording, key: str) -> Transcript:
        """The transcript of a key. Raises NotThere: it was not asked for; Failure."""
        if (answer := self._answers.get(key)) is None:
            raise NotThere
        response = answer.get("response") or {}
        if error := answer.get("error"):
            message = error.get("error", error).get("message") if isinstance(error, dict) else error
            raise Failure(str(message), response.get("status_code"))
        transcript = read_transcript(response.get("body"))
        return {**transcript, "segments": _with_letters(transcript["segments"])}


def _with_letters(segments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Speakers as the proxy and OpenAI name them: A, B, … in order of appearance."""
    labels: dict[str, str] = {"": UNKNOWN}
    for segment in segments:
        labels.setdefault(segment["speaker"], label(len(labels) - 1))
    return [{**segment, "speaker": labels[segment["speaker"]]} for segment in segments]
