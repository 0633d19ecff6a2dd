"""Plays a recording to a realtime transcription session and records its events with their times."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.support.realtime import RATE, TRANSCRIPTION, pcm
from websockets.asyncio.client import ClientConnection, connect

from bench.hearing import Heard

BLOCK_SECONDS = 0.1
"""Seconds of audio per event, as browsers and voice agents send it."""
TAIL_SECONDS = 1.5
"""Silence after the recording, which ends the last turn."""
ENDS = (f"{TRANSCRIPTION}.completed", f"{TRANSCRIPTION}.failed")
LIGHT: Mapping[str, str] = {
    "ASR_API": "off",
    "TTS_MODEL_TYPE": "off",
    "VIBEVOICE_LIGHT": "on",
    "VIBEVOICE_LOG_LEVEL": "WARNING",
}
"""Settings of a proxy with only the light recognizer."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event and its arrival time."""

    at: float
    """Arrival time on the monotonic clock."""
    event: Mapping[str, Any]

    @property
    def type(self) -> str:
        """The type of the event."""
        return self.event["type"]


@dataclass(slots=True)
class Played:
    """The events of a session."""

    began: float = 0.0
    """Time at which the first audio was sent, on the monotonic clock."""
    arrivals: list[Arrival] = field(default_factory=list[Arrival])
    sent: float = 0.0
    """Seconds of audio sent so far."""

    def of(self, *types: str) -> list[Arrival]:
        """The events of the given types."""
        return [arrival for arrival in self.arrivals if arrival.type in types]

    @property
    def segments(self) -> Sequence[Heard]:
        """All segments."""
        return [
            Heard(*(found.event[name] for name in ("start", "end", "speaker", "text")))
            for found in self.of(f"{TRANSCRIPTION}.segment")
        ]

    @property
    def text(self) -> str:
        """All transcripts."""
        return " ".join(found.event["transcript"] for found in self.of(ENDS[0]))


@asynccontextmanager
async def connected(url: str, key: str = "none") -> AsyncIterator[ClientConnection]:
    """Open a session at the proxy `url`, without pings: they would queue behind audio that the
    server has not read yet."""
    address = f"{url.replace('http', 'ws', 1)}/v1/realtime?intent=transcription"
    headers = {"authorization": f"Bearer {key}"}
    async with connect(
        address, compression=None, ping_interval=None, max_queue=1, additional_headers=headers
    ) as connection:
        yield connection


def append(data: bytes) -> str:
    """The event that appends the audio `data`."""
    audio = base64.b64encode(data).decode()
    return f'{{"type":"input_audio_buffer.append","audio":"{audio}"}}'


async def play(
    connection: ClientConnection, samples: NDArray[np.float32], played: Played, *, speed: float
) -> None:
    """Send a recording, shape (samples,), mono, 16 kHz, at `speed` times real time (0: as fast as
    the server accepts it), and receive events until every turn has ended."""
    silence = np.zeros(round(TAIL_SECONDS * 16_000), np.float32)
    data = pcm(np.concatenate([samples, silence]))
    size = round(BLOCK_SECONDS * RATE) * 2
    is_sent = asyncio.Event()

    async def send() -> None:
        played.began = monotonic()
        for at in range(0, len(data), size):
            if speed and (wait := played.began + at / 2 / RATE / speed - monotonic()) > 0:
                await asyncio.sleep(wait)
            await connection.send(append(data[at : at + size]))
            played.sent = (at + size) / 2 / RATE
        # All earlier audio is processed once the server answers this event.
        await connection.send('{"type":"input_audio_buffer.clear"}')
        is_sent.set()

    open_turns, is_cleared = 0, False
    sending = asyncio.create_task(send())
    try:
        while not (is_cleared and open_turns == 0):
            event = json.loads(await connection.recv())
            played.arrivals.append(Arrival(monotonic(), event))
            kind = event["type"]
            open_turns += (kind == "input_audio_buffer.committed") - (kind in ENDS)
            is_cleared = is_cleared or kind == "input_audio_buffer.cleared"
            if kind == "error":
                raise RuntimeError(f"the server returned an error: {event['error']['message']}")
    finally:
        sending.cancel()
