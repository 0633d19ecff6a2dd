"""The worker processes of the light recognizer: results, cancellation, crashes and hangs."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.real_voices import RATE, conversation, librivox

from vibevoice_core.messages import Message
from vibevoice_core.worker_process import WorkerLost
from vibevoice_light import LightPool, LightRecognizer, Segment, open_pool, open_voices
from vibevoice_light.pool import CAPACITY

Samples = NDArray[np.float32]


@pytest.fixture(scope="module")
def reading() -> Samples:
    """Half a minute from LibriVox."""
    samples, _ = conversation([("reader", one) for one in librivox()], 1.0)
    return samples


async def blocks(samples: Samples) -> AsyncIterator[Samples]:
    for at in range(0, len(samples), 10 * RATE):
        yield samples[at : at + 10 * RATE]


async def held(samples: Samples, release: asyncio.Event) -> AsyncIterator[Samples]:
    """A recording whose request lasts until `release`."""
    await release.wait()
    async for block in blocks(samples):
        yield block


async def until(condition: Callable[[], bool]) -> None:
    """Wait for `condition`."""
    async with asyncio.timeout(300):
        while not condition():
            await asyncio.sleep(0.01)


async def ready(pool: LightPool) -> LightPool:
    """The pool once all its processes are ready."""
    await until(lambda: all(worker.is_ready for worker in pool.workers))
    return pool


async def heard(pool: LightPool, recording: AsyncIterator[Samples]) -> list[Segment]:
    async with asyncio.timeout(300):
        return [segment async for segment in pool.recognize(recording, 120.0)]


async def recognized(pool: LightPool, samples: Samples) -> list[Segment]:
    return await heard(pool, blocks(samples))


async def test_processes_answer_as_the_recognizer_does(
    recognizer: LightRecognizer, model_folder: Path, reading: Samples
) -> None:
    """Several concurrent recordings in one process give the same results as each one alone."""
    parts = [reading, reading[: 20 * RATE], reading[: RATE // 100], np.zeros(0, np.float32)]
    async with open_pool(model_folder, 1) as pool:
        await ready(pool)
        answers = await asyncio.gather(*(recognized(pool, part) for part in parts))
    assert answers == [recognizer.transcribe(part) for part in parts]
    assert len(answers[0]) > 3


async def test_a_short_recording_does_not_wait_for_a_long_one(
    model_folder: Path, reading: Samples
) -> None:
    """The recordings take turns, and a recording is dropped when its client disconnects."""
    async with open_pool(model_folder, 1) as pool:
        await ready(pool)
        async with aclosing(pool.recognize(blocks(np.tile(reading, 20)), 0.0)) as long:
            assert (await anext(long)).text
            assert await recognized(pool, reading[: 10 * RATE])
            assert pool.workers[0].in_flight == 1
        assert pool.workers[0].in_flight == 0
        assert await recognized(pool, reading[: 10 * RATE])
        assert pool.restarts == 0


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_process_that_dies_or_hangs_costs_its_own_requests_only(
    model_folder: Path, reading: Samples, sent: signal.Signals
) -> None:
    """Its request fails with a message, the request in the other process continues, and both
    processes serve again afterwards."""
    async with open_pool(model_folder, 2, hang_timeout=10.0) as pool:
        await ready(pool)
        release = asyncio.Event()
        first, second = (asyncio.create_task(heard(pool, held(reading, release))) for _ in range(2))
        await until(lambda: [worker.in_flight for worker in pool.workers] == [1, 1])
        assert pool.workers[0].pid
        os.kill(pool.workers[0].pid, sent)
        release.set()
        with pytest.raises(WorkerLost, match="The light worker .* while processing the request"):
            await first
        assert await second
        await ready(pool)
        assert pool.restarts == 1
        assert all(await asyncio.gather(*(recognized(pool, reading) for _ in range(2))))


async def test_a_new_process_gets_nothing_of_a_lost_request(
    model_folder: Path, reading: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would start a recording that nobody ends or cancels."""
    async with open_pool(model_folder, 1) as pool:
        await ready(pool)
        [worker], release = pool.workers, asyncio.Event()
        lost = asyncio.create_task(heard(pool, held(reading, release)))
        await until(lambda: worker.in_flight == 1)
        assert worker.pid
        os.kill(worker.pid, signal.SIGKILL)
        await until(lambda: worker.restarts == 1 and worker.is_ready)
        written: list[Message] = []
        monkeypatch.setattr(worker, "write", written.append)
        release.set()
        with pytest.raises(WorkerLost):
            await lost
        assert written == []


async def test_a_pool_without_a_model_is_not_ready(tmp_path: Path) -> None:
    """The process exits, and the message says that the model is missing."""
    async with open_pool(tmp_path, 1) as pool:
        with pytest.raises(WorkerLost, match="The model light is still loading"):
            await recognized(pool, np.zeros(RATE, np.float32))


async def test_a_slow_client_is_no_hang(model_folder: Path, reading: Samples) -> None:
    """A worker that waits for a client to read its segments keeps sending heartbeats."""
    async with open_pool(model_folder, 1, hang_timeout=8) as pool:
        await ready(pool)
        async with aclosing(pool.recognize(blocks(reading), 0.0)) as segments:
            assert (await anext(segments)).text
            await asyncio.sleep(12)
            assert [segment async for segment in segments]
        assert pool.restarts == 0


async def test_recordings_that_wait_are_spread(model_folder: Path, reading: Samples) -> None:
    """Waiting recordings are spread over all workers, even while all slots are in use."""
    async with open_pool(model_folder, 2) as pool:
        await ready(pool)
        short, release = reading[: 2 * RATE], asyncio.Event()
        tasks = [asyncio.create_task(heard(pool, held(short, release))) for _ in range(40)]
        await until(lambda: sum(worker.wanted for worker in pool.workers) == 40)
        assert [worker.wanted for worker in pool.workers] == [20, 20]
        release.set()
        await asyncio.gather(*tasks)
        assert [worker.wanted for worker in pool.workers] == [0, 0]


async def test_voices_are_embedded_while_every_slot_is_taken(
    recognizer: LightRecognizer, model_folder: Path, reading: Samples
) -> None:
    """Recordings that fill all slots may be waiting for their own embeddings."""
    async with open_pool(model_folder, 1) as pool, AsyncExitStack() as stack:
        await ready(pool)
        for _ in range(CAPACITY):
            segments = pool.recognize(blocks(reading), 0.0)
            assert (await anext(await stack.enter_async_context(aclosing(segments)))).text
        assert pool.workers[0].in_flight == CAPACITY
        windows = await pool.embed(reading[: 8 * RATE])
    expected = recognizer.voiceprints.find(reading[: 8 * RATE])
    assert [(one.start, one.end) for one in windows] == [(one.start, one.end) for one in expected]
    assert len(windows) > 5
    for window, other in zip(windows, expected, strict=True):
        assert window.vector.tolist() == other.vector.tolist()


async def test_voices_without_a_recognizer(reading: Samples) -> None:
    """The process starts when a voice is first embedded, and is restarted after a crash."""
    async with open_voices() as pool:
        assert pool.workers[0].pid is None
        several = await asyncio.gather(*(pool.embed(reading[: 4 * RATE]) for _ in range(4)))
        assert all(len(windows) > 3 for windows in several)
        assert await pool.embed(np.zeros(RATE, np.float32)) == []
        assert pool.workers[0].pid
        os.kill(pool.workers[0].pid, signal.SIGKILL)
        with pytest.raises(WorkerLost):
            await pool.embed(reading[: 4 * RATE])
        assert await pool.embed(reading[: 4 * RATE])
