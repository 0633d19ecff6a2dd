"""Audio that a session passes on to its recognizer, and audio that it rejects."""

import asyncio
import base64
import json
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from vibevoice_light import Detection
from vibevoice_proxy.live import LiveEvent, LiveOptions
from vibevoice_proxy.realtime.client_events import (
    AudioAppend,
    AudioClear,
    AudioCommit,
    InvalidEvent,
)
from vibevoice_proxy.realtime.hearing import Hearing
from vibevoice_proxy.realtime.input_audio import MAX_BYTES, InputAudio
from vibevoice_proxy.realtime.items import Items
from vibevoice_proxy.realtime.metrics import RealtimeMetrics
from vibevoice_proxy.realtime.outbox import Outbox

RATE = 24_000


class Stream:
    """A stream that accepts all audio and recognizes nothing."""

    def __init__(self) -> None:
        self.fed: list[int] = []
        self.options: list[LiveOptions] = []
        self.commits = 0

    async def feed(self, samples: NDArray[np.int16]) -> None:
        self.fed.append(len(samples))

    async def commit(self) -> None:
        self.commits += 1

    async def clear(self) -> None: ...

    async def update(self, options: LiveOptions) -> None:
        self.options.append(options)

    async def catch_up(self) -> None: ...

    async def events(self) -> AsyncGenerator[LiveEvent]:
        await asyncio.Event().wait()
        yield  # type: ignore[misc]  # never


class Recognition:
    """Opens one stream."""

    def __init__(self) -> None:
        self.stream = Stream()
        self.opened: list[LiveOptions] = []

    def check(self, options: LiveOptions) -> str:
        return options.model or "light"

    @asynccontextmanager
    async def open(self, options: LiveOptions, session_id: str) -> AsyncIterator[Stream]:
        self.opened.append(options)
        yield self.stream


class Session:
    """A `Hearing` with the other parts of a session."""

    def __init__(self) -> None:
        self.recognition = Recognition()
        self.outbox = Outbox()
        self.hearing = Hearing(
            self.recognition,
            Items(self.outbox),
            RealtimeMetrics(CollectorRegistry()),
            session_id="sess_1",
            max_buffer_seconds=600.0,
        )

    async def configure(
        self, *, model: str = "", commits: bool = False, media_type: str = "audio/pcm"
    ) -> None:
        """`commits`: whether the client ends its turns."""
        options = LiveOptions(model=model, detection=None if commits else Detection())
        await self.hearing.configure(options, media_type, with_logprobs=False, event_id=None)

    async def append(self, seconds: float) -> None:
        """Append silence as `audio/pcm`."""
        audio = base64.b64encode(bytes(2 * round(seconds * RATE))).decode()
        await self.hearing.append(AudioAppend(type="input_audio_buffer.append", audio=audio))


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    session = Session()
    run = asyncio.create_task(session.hearing.run())
    yield session
    run.cancel()
    with suppress(asyncio.CancelledError):
        await run


def test_a_large_event_is_decoded_in_parts() -> None:
    """Half an hour of telephone audio needs little more memory than the event itself."""
    audio = base64.b64encode(b"\x7f" * MAX_BYTES).decode()
    tracemalloc.start()
    try:
        lengths = [len(part) for part in InputAudio().decode(audio, "audio/pcmu")]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(lengths) == pytest.approx(3 * MAX_BYTES, abs=100)
    assert max(lengths) <= 5 * RATE
    assert peak < 40 * 1024 * 1024


async def test_a_large_event_is_heard_in_parts(session: Session) -> None:
    await session.configure()
    await session.append(32.0)
    fed = session.recognition.stream.fed
    assert sum(fed) == 32 * RATE
    assert max(fed) <= 5 * RATE


async def test_what_the_buffer_cannot_hold_is_not_decoded(session: Session) -> None:
    """It is rejected because of its length, before its base64 is checked."""
    await session.configure(commits=True, media_type="audio/pcmu")
    event = AudioAppend(type="input_audio_buffer.append", audio="é" * (601 * 8000 // 3 * 4))
    with pytest.raises(InvalidEvent) as refused:
        await session.hearing.append(event)
    assert refused.value.code == "input_audio_buffer_full"


async def test_audio_before_the_client_commits_waits_for_no_commit(session: Session) -> None:
    """When turn detection is switched off, the buffer is empty, however much audio was received
    before."""
    await session.configure()
    for _ in range(61):
        await session.append(10.0)
    await session.configure(commits=True)
    with pytest.raises(InvalidEvent) as refused:
        await session.hearing.commit(AudioCommit(type="input_audio_buffer.commit"))
    assert refused.value.code == "input_audio_buffer_commit_empty"
    await session.append(300.0)
    await session.append(299.0)
    with pytest.raises(InvalidEvent) as refused:
        await session.append(2.0)
    assert refused.value.code == "input_audio_buffer_full"


async def test_uncommitted_audio_is_kept_when_detection_is_switched_on(session: Session) -> None:
    """It becomes a turn, once; less than a turn needs does not."""
    await session.configure(commits=True)
    await session.append(3.0)
    await session.configure()
    await session.configure()
    assert session.recognition.stream.commits == 1
    await session.configure(commits=True)
    await session.append(0.05)
    await session.configure()
    assert session.recognition.stream.commits == 1


async def test_a_clear_before_the_first_audio(session: Session) -> None:
    """The event is answered, and the model can still change."""
    await session.configure()
    await session.hearing.clear(AudioClear(type="input_audio_buffer.clear"))
    assert json.loads(await session.outbox.get())["type"] == "input_audio_buffer.cleared"
    await session.configure(model="vibevoice")
    await session.append(1.0)
    assert [options.model for options in session.recognition.opened] == ["vibevoice"]


async def test_the_default_model_may_be_named_later(session: Session) -> None:
    """Naming the default model changes nothing; any other model is rejected after the first
    audio."""
    await session.configure()
    await session.append(1.0)
    await session.configure(model="light")
    await session.configure()
    with pytest.raises(InvalidEvent) as refused:
        await session.configure(model="vibevoice")
    assert refused.value.code == "model_cannot_change"
