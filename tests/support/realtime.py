"""Realtime sessions for tests: audio, events, and their types."""

import base64
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import numpy as np
import openai
from numpy.typing import NDArray
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from tests.support.metrics import samples_when
from tests.support.real_voices import resampled
from tests.support.recordings import wav

RATE = 24_000
INTENT = {"intent": "transcription"}
TRANSCRIPTION = "conversation.item.input_audio_transcription"

RECEIVED = ("vibevoice_realtime_audio_seconds_total",)
OPEN = ("vibevoice_realtime_sessions_open",)

Event = dict[str, Any]
Samples = dict[tuple[str, ...], float]

_TYPES: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


def pcm(samples: NDArray[np.float32]) -> bytes:
    """Samples at 16 kHz as `audio/pcm`."""
    louder = resampled(samples, RATE).clip(-1, 1) * 32767
    return louder.astype("<i2").tobytes()


def base64_blocks(data: bytes, size: int = 24_000) -> Sequence[str]:
    """`data` in events of half a second of `audio/pcm` each."""
    return [base64.b64encode(data[at : at + size]).decode() for at in range(0, len(data), size)]


def random_message(source: random.Random) -> str:
    """A random event, which may or may not be valid at this point."""
    audio = "AAAA" * source.choice([0, 1, 1000, 8000])
    detection = source.choice([None, {"type": "server_vad"}, {"type": "semantic_vad"}])
    heard: dict[str, Any] = {"turn_detection": detection}
    if source.random() < 0.3:
        heard["format"] = {"type": source.choice(["audio/pcm", "audio/pcmu", "audio/pcma", "x"])}
    events: list[Any] = [
        {"type": "input_audio_buffer.append", "audio": audio},
        {"type": "input_audio_buffer.append", "audio": audio},
        {"type": "input_audio_buffer.commit"},
        {"type": "input_audio_buffer.clear"},
        {"type": "session.update", "session": {"type": "transcription", "audio": {"input": heard}}},
        {"type": source.choice(["response.create", "nothing", ""])},
        source.choice([None, 5, [], "text"]),
    ]
    text = json.dumps(source.choice(events))
    return text if source.random() < 0.9 else text[: source.randrange(1 + len(text))]


def decode_open_turn(base: str) -> None:
    """Return once the light recognizer of the proxy `base` has decoded what it has of the open
    turn, if that is enough for new words. Its only worker alternates between live turns and
    recordings, so it does so before it is done with the recording sent here."""
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * RATE).astype(np.float32)
    files = {"file": ("noise", wav(noise))}
    httpx2.post(f"{base}/v1/audio/transcriptions", files=files, timeout=60).raise_for_status()


class Received:
    """How much audio the recognizer of the proxy `base` gets from the next session."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._before = self._when(lambda found: found[OPEN] == 0)[RECEIVED]

    def wait_for(self, data: bytes) -> None:
        """Wait until it is as long as `data`, samples as `audio/pcm`."""
        seconds = len(data) / 2 / RATE - 0.001
        self._when(lambda found: found[RECEIVED] - self._before >= seconds)

    def _when(self, condition: Callable[[Samples], bool]) -> Samples:
        with httpx2.Client(base_url=self._base, timeout=60) as http:
            return samples_when(http, condition)


class Client:
    """A session with the real client; every event is validated with its types."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.events: list[Event] = []
        """All received events."""

    async def receive(self) -> Event:
        """The next event."""
        data = await self.connection.recv_bytes()
        _TYPES.validate_json(data)
        event: Event = json.loads(data)
        self.events.append(event)
        return event

    async def until(self, *types: str, count: int = 1) -> list[Event]:
        """Receive events until `count` of `types` have arrived."""
        found: list[Event] = []
        while sum(event["type"] in types for event in found) < count:
            found.append(await self.receive())
        return found

    async def update(self, **audio_input: Any) -> Event:
        """Change `audio.input` of the session; return the response."""
        session: Any = {"type": "transcription", "audio": {"input": audio_input}}
        await self.connection.session.update(session=session)
        return (await self.until("session.updated", "error"))[-1]

    async def append(self, data: bytes, size: int = 24_000) -> None:
        """Send audio, faster than people speak."""
        for block in base64_blocks(data, size):
            await self.connection.input_audio_buffer.append(audio=block)


@asynccontextmanager
async def session(base: str, key: str = "none", **query: str) -> AsyncIterator[Client]:
    """Open a transcription session at the proxy `base`, up to `session.created`."""
    async with openai.AsyncOpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0) as client:
        async with client.realtime.connect(extra_query={**INTENT, **query}) as connection:
            held = Client(connection)
            assert (await held.receive())["type"] == "session.created"
            yield held
