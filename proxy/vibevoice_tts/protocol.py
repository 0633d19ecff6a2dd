"""The messages between the proxy and a speech worker (`vibevoice_core.messages`).

To the worker: `speak` (id, request), `cancel` (id).
From the worker: `ready` (ModelInfo, once the model is warm), `prepared` (id, found, computed,
seconds), `chunk` (id), `end` (id, reason, seconds), `failure` (id, error, message: the request was
rejected or failed), `beat` (still working, no chunk yet), `broken` (message, unusable: the model
has failed and the worker exits; unusable if it can never work in this configuration).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vibevoice_core.messages import Message
from vibevoice_tts.speech_model import (
    Chunk,
    End,
    Event,
    Prepared,
    SpeechError,
    SpeechRejected,
    SpeechRequest,
    Turn,
)


@dataclass(frozen=True)
class ModelInfo:
    """Properties of a model that are known once it is loaded."""

    sample_rate: int
    """Samples per second of its audio."""
    voices: tuple[str, ...]
    aliases: Mapping[str, str]
    """OpenAI's voice names → voices; the empty name → the default voice."""

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "ModelInfo":
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**fields, "voices": tuple(fields["voices"])})


def request_message(number: int, request: SpeechRequest) -> Message:
    """`request` as a message with the id `number`; its samples are the recordings, concatenated."""
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
        ValueError: the message is of any other kind.
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
