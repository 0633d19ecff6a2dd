"""How a worker divides its time, with models that run in simulated time."""

import io
from collections import Counter
from collections.abc import Iterator
from itertools import repeat
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from vibevoice_core.messages import Message, read_message
from vibevoice_light import LightRecognizer, Segment
from vibevoice_light.live_events import Ended, LiveEvent, NewWords, Started, Stopped
from vibevoice_light.voiceprints import Voiceprints
from vibevoice_light.worker import Worker

SECONDS = 60
BLOCKS_PER_SECOND = 50
SEGMENT_SECONDS, PREVIEW_SECONDS, BLOCK_SECONDS = 0.2, 0.3, 0.001
LIVE, FASTER_LIVE, RECORDINGS = 1, 2, (3, 4, 5)


class Over(BaseException):
    """The end of the simulated time."""


class World:
    """The clock, and the proxy at the other end of the pipe. One live client sends a block every 20
    ms, another sends a quarter of an hour at once, and there are three long recordings."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sent = 0
        self._commands: SimpleQueue[Message] = SimpleQueue()

    def begin(self, commands: SimpleQueue[Message]) -> None:
        """Replaces `read_commands`."""
        self._commands = commands
        for number in (LIVE, FASTER_LIVE):
            fields = {"id": number, "detection": None, "first_speaker": 0, "interval": 0.5}
            commands.put(Message("listen", fields))
        for number in RECORDINGS:
            commands.put(Message("audio", {"id": number, "lookahead": 120.0}))
        for _ in range(900 * BLOCKS_PER_SECOND):
            commands.put(Message("audio", {"id": FASTER_LIVE}))

    def spend(self, seconds: float) -> None:
        """Advance the clock by `seconds`."""
        self.now += seconds
        while self._sent < self.now * BLOCKS_PER_SECOND:
            self._commands.put(Message("audio", {"id": LIVE}))
            self._sent += 1
        if self.now >= SECONDS:
            raise Over


class Recording:
    """A `Listener` whose audio has endless segments."""

    def __init__(self, world: World) -> None:
        self._world = world

    def feed(self, _: NDArray[np.float32]) -> Iterator[Segment]:
        for segment in repeat(Segment(0.0, 1.0, 0, "", (), False, 1.0)):
            self._world.spend(SEGMENT_SECONDS)
            yield segment


class Conversation:
    """A `LiveListener` with a turn every two seconds."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._heard = self._previewed = 0

    @property
    def wants_preview(self) -> bool:
        return self._heard - self._previewed >= BLOCKS_PER_SECOND / 2

    def preview(self) -> Iterator[LiveEvent]:
        self._previewed = self._heard
        self._world.spend(PREVIEW_SECONDS)
        yield NewWords(1, "word")

    def feed(self, _: NDArray[np.float32]) -> Iterator[LiveEvent]:
        self._world.spend(BLOCK_SECONDS)
        self._heard += 1
        if self._heard % (2 * BLOCKS_PER_SECOND) == 0:
            yield from (Started(1, 0.0), Stopped(1, 0.0, 1.0, True), Ended(1))


def test_conversations_and_recordings_share_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A live conversation keeps up and gets its previews under any load, and no recording waits for
    long."""
    world = World()
    recognizer = SimpleNamespace(
        listen=lambda lookahead: Recording(world),  # pyright: ignore[reportUnknownLambdaType]
        listen_live=lambda *options: Conversation(world),  # pyright: ignore[reportUnknownLambdaType]
    )
    monkeypatch.setattr("vibevoice_light.worker.read_commands", world.begin)
    monkeypatch.setattr("vibevoice_light.worker.monotonic", lambda: world.now, raising=False)
    said = io.BytesIO()
    worker = Worker(cast(LightRecognizer, recognizer), cast(Voiceprints, None), said)
    with pytest.raises(Over):
        worker.run()
    said.seek(0)
    found: Counter[tuple[Any, ...]] = Counter()
    while message := read_message(said):
        found[message.fields.get("id"), message.kind, message.fields.get("of")] += 1
    assert found[LIVE, "heard", "audio"] >= (SECONDS - 1.5) * BLOCKS_PER_SECOND
    assert found[LIVE, "heard", "preview"] >= SECONDS / 2
    assert found[FASTER_LIVE, "heard", "audio"] >= 2 * SECONDS * BLOCKS_PER_SECOND / 3
    segments = [found[number, "segment", None] for number in RECORDINGS]
    assert sum(segments) * SEGMENT_SECONDS >= SECONDS / 8
    assert max(segments) - min(segments) <= 1
