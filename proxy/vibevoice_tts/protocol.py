"""The messages between the proxy and the worker, over a pipe.

A message is two lengths (big-endian 32-bit), a JSON object whose `kind` says what it is, and audio
as raw float32 little-endian. Nothing in it is ever executed or unpickled.

To the worker: `speak` (id, request), `cancel` (id).
From the worker: `ready` (ModelInfo, once the model is warm), `prepared` (id, found, computed,
seconds), `chunk` (id), `end` (id, reason, seconds), `failure` (id, error, message: the request was
rejected or has failed), `beat` (work goes on without a chunk), `broken` (message, unusable: the
model cannot go on and the worker ends; unusable where it never will as it is set up).
"""

import asyncio
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

import numpy as np

from vibevoice_tts.speech_model import (
    Chunk,
    End,
    Event,
    Prepared,
    Samples,
    SpeechError,
    SpeechRejected,
    SpeechRequest,
    Turn,
)

MAX_BYTES = 64 * 1024 * 1024
"""Largest JSON or audio of a message; recordings for cloning are the largest there is."""

_LENGTHS = struct.Struct(">II")
_SAMPLE = np.dtype("<f4")


@dataclass(frozen=True)
class Message:
    """A message; `fields` without its kind, `samples` empty where it has none."""

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    samples: Samples = field(default_factory=lambda: np.zeros(0, np.float32))

    def encode(self) -> bytes:
        """The bytes on the pipe."""
        text = json.dumps({"kind": self.kind, **self.fields}).encode()
        audio = np.ascontiguousarray(self.samples, _SAMPLE).tobytes()
        return _LENGTHS.pack(len(text), len(audio)) + text + audio

    @classmethod
    def decode(cls, text: bytes, audio: bytes) -> "Message":
        """The message of the bytes after the lengths; raises ValueError."""
        fields = json.loads(text)
        if not isinstance(fields, dict) or not isinstance(kind := fields.pop("kind", None), str):
            raise ValueError("not a message")
        return cls(kind, fields, np.frombuffer(audio, _SAMPLE).astype(np.float32))


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model once it is loaded."""

    sample_rate: int
    """Samples a second of its audio."""
    voices: tuple[str, ...]
    aliases: Mapping[str, str]
    """OpenAI's voice names → voices; the empty name → the default voice."""

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "ModelInfo":
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**fields, "voices": tuple(fields["voices"])})


def read_message(pipe: BinaryIO) -> Message | None:
    """The next message; None at the end of the pipe, which may cut a message off. Raises ValueError
    for anything else."""
    if len(head := pipe.read(_LENGTHS.size)) < _LENGTHS.size:
        return None
    lengths = _lengths(head)
    text, audio = (pipe.read(length) for length in lengths)
    if (len(text), len(audio)) != lengths:
        return None
    return Message.decode(text, audio)


async def read_message_async(pipe: asyncio.StreamReader) -> Message | None:
    """The same from a stream of asyncio."""
    try:
        text, audio = _lengths(await pipe.readexactly(_LENGTHS.size))
        return Message.decode(await pipe.readexactly(text), await pipe.readexactly(audio))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def request_message(number: int, request: SpeechRequest) -> Message:
    """`request` as a message with the id `number`; its recordings are joined as the samples."""
    fields = {
        **{key: getattr(request, key) for key in ("cfg_scale", "steps", "seed")},
        "turns": [asdict(turn) for turn in request.turns],
        "lengths": {name: len(samples) for name, samples in request.samples.items()},
    }
    audio = [np.zeros(0, np.float32), *request.samples.values()]
    return Message("speak", {"id": number, "request": fields}, np.concatenate(audio))


def request_of(message: Message) -> SpeechRequest:
    """The inverse of `request_message`."""
    fields = dict(message.fields["request"])
    lengths: dict[str, int] = fields.pop("lengths")
    ends = np.cumsum(list(lengths.values()), dtype=int)
    fields["samples"] = dict(
        zip(lengths, np.split(message.samples, ends[:-1]) if lengths else (), strict=True)
    )
    fields["turns"] = tuple(Turn(**turn) for turn in fields["turns"])
    return SpeechRequest(**fields)


def event_message(number: int, event: Event) -> Message:
    """`event` as a message about the request with the id `number`."""
    match event:
        case Prepared():
            fields = {key: getattr(event, key) for key in ("found", "computed", "seconds")}
            return Message("prepared", {"id": number, **fields})
        case Chunk(_, samples):
            return Message("chunk", {"id": number}, samples)
        case End(_, reason, seconds):
            return Message("end", {"id": number, "reason": reason, "seconds": seconds})


def failure_message(number: int, error: SpeechError) -> Message:
    """`error` as a message about the request with the id `number`."""
    kind = "rejected" if isinstance(error, SpeechRejected) else "failed"
    return Message("failure", {"id": number, "error": kind, "message": str(error)})


def event_of(message: Message) -> Event:
    """The inverse of `event_message`, with the id in place of the handle.

    Raises:
        SpeechRejected, SpeechError: the message reports a failure.
        ValueError: it is of another kind.
    """
    fields = dict(message.fields)
    number = fields.pop("id")
    match message.kind:
        case "prepared":
            return Prepared(number, **fields)
        case "chunk":
            return Chunk(number, message.samples)
        case "end":
            return End(number, **fields)
        case "failure":
            error = SpeechRejected if fields["error"] == "rejected" else SpeechError
            raise error(fields["message"])
    raise ValueError(f"{message.kind} does not report on a request")


def _lengths(head: bytes) -> tuple[int, int]:
    text, audio = _LENGTHS.unpack(head)
    if text > MAX_BYTES or audio > MAX_BYTES:
        raise ValueError("message too large")
    return text, audio
