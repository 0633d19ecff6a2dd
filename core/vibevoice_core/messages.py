"""The format of the messages that the proxy and its workers exchange over pipes.

A message consists of two lengths (big-endian 32-bit), a JSON object with a `kind`, and audio as raw
little-endian float32. Nothing in it is ever executed or unpickled.
"""

import asyncio
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 64 * 1024 * 1024
"""Size limit of a message's JSON and audio; recordings for voice cloning are the largest."""

_LENGTHS = struct.Struct(">II")
_SAMPLE = np.dtype("<f4")


@dataclass(frozen=True)
class Message:
    """A message: `fields` without the kind, and `samples`, which may be empty."""

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    samples: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def encode(self) -> bytes:
        """The message as bytes for the pipe."""
        text = json.dumps({"kind": self.kind, **self.fields}).encode()
        audio = np.ascontiguousarray(self.samples, _SAMPLE).tobytes()
        return _LENGTHS.pack(len(text), len(audio)) + text + audio

    @classmethod
    def decode(cls, text: bytes, audio: bytes) -> "Message":
        """Decode the bytes that follow the lengths. Raises ValueError."""
        fields = json.loads(text)
        if not isinstance(fields, dict) or not isinstance(kind := fields.pop("kind", None), str):
            raise ValueError("invalid message")
        return cls(kind, fields, np.frombuffer(audio, _SAMPLE).astype(np.float32))


def read_message(pipe: BinaryIO) -> Message | None:
    """Read the next message; None at the end of the pipe, even in the middle of a message. Raises
    ValueError for invalid data."""
    if len(head := pipe.read(_LENGTHS.size)) < _LENGTHS.size:
        return None
    lengths = _lengths(head)
    text, audio = (pipe.read(length) for length in lengths)
    if (len(text), len(audio)) != lengths:
        return None
    return Message.decode(text, audio)


async def read_message_async(pipe: asyncio.StreamReader) -> Message | None:
    """The same for an asyncio stream."""
    try:
        text, audio = _lengths(await pipe.readexactly(_LENGTHS.size))
        return Message.decode(await pipe.readexactly(text), await pipe.readexactly(audio))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def write_message(pipe: BinaryIO, message: Message) -> None:
    """Write all of `message` to an unbuffered pipe."""
    data = memoryview(message.encode())
    while data:
        data = data[pipe.write(data) :]


def _lengths(head: bytes) -> tuple[int, int]:
    text, audio = _LENGTHS.unpack(head)
    if text > MAX_BYTES or audio > MAX_BYTES:
        raise ValueError("message too large")
    return text, audio
