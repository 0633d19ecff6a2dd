"""The worker process: speaking, and recovery when it dies."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, BinaryIO, cast

import numpy as np
import psutil
import pytest
from tests.support.processes import wait_until_idle

from vibevoice_core.messages import Message, read_message
from vibevoice_tts.models import ModelConfig
from vibevoice_tts.process import WorkerProcess, WorkerUnavailable, open_worker
from vibevoice_tts.protocol import (
    ModelInfo,
    event_message,
    event_of,
    failure_message,
    request_message,
    request_of,
)
from vibevoice_tts.script import Script
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
from vibevoice_tts.synthesizer import BadSpeech, SpeechQueueFull, Synthesizer

LONG = SpeechRequest((Turn("This is one of very many sentences. " * 600),))
SHORT = SpeechRequest((Turn("One two three."),))
ESPEAK = ModelConfig("espeak")
INSTALLED = pytest.mark.parametrize(
    "config", [ESPEAK, ModelConfig("hibari")], ids=["espeak", "hibari"]
)
"""The models that do not need a folder."""


async def started(worker: WorkerProcess) -> WorkerProcess:
    """The worker once it is ready."""
    async with asyncio.timeout(60):
        while not worker.is_ready:
            await asyncio.sleep(0.02)
    return worker


async def speak(worker: WorkerProcess, request: SpeechRequest) -> list[Event]:
    """Collect all events of a request."""
    return [event async for event in worker.synthesize(request)]


async def lost_by(worker: WorkerProcess, sent: signal.Signals) -> list[str | int]:
    """Send the process a signal while it speaks a request, then send another request; returns the
    error message of the first and the number of chunks of the second."""
    async with aclosing(worker.synthesize(LONG)) as events:
        await anext(events)
        assert worker.pid is not None
        psutil.Process(worker.pid).send_signal(sent)
        with pytest.raises(WorkerUnavailable) as lost:
            async with asyncio.timeout(60):
                async for _ in events:
                    pass
    await started(worker)
    return [str(lost.value), len(await speak(worker, SHORT))]


@INSTALLED
async def test_speech_comes_chunk_by_chunk(config: ModelConfig) -> None:
    """A real process speaks several requests, each with complete audio and an end."""
    async with open_worker(config, start_timeout=60, hang_timeout=60) as worker:
        await started(worker)
        answers = await asyncio.gather(*(speak(worker, SHORT) for _ in range(5)))
    for *chunks, end in answers:
        assert isinstance(end, End) and end.reason == "stop"
        audio = np.concatenate([chunk.samples for chunk in chunks if isinstance(chunk, Chunk)])
        assert 0.5 < len(audio) / 24000 < 3


async def test_killed_worker_fails_its_requests_and_comes_back() -> None:
    """Its requests fail with an error; the next request is served by its successor."""
    async with open_worker(ESPEAK, start_timeout=60, hang_timeout=60) as worker:
        first = (await started(worker)).pid
        message, chunks = await lost_by(worker, signal.SIGKILL)
        assert worker.pid != first
    assert message == (
        "The espeak worker ended unexpectedly while processing the request. Try again soon."
    )
    assert chunks == 2


async def test_hung_worker_is_killed_and_comes_back() -> None:
    """A process that is suspended while speaking sends nothing and is replaced."""
    async with open_worker(ESPEAK, start_timeout=60, hang_timeout=4) as worker:
        await started(worker)
        message, chunks = await lost_by(worker, signal.SIGSTOP)
    assert isinstance(message, str) and "stopped responding" in message
    assert chunks == 2


@INSTALLED
async def test_worker_out_of_memory_comes_back(config: ModelConfig) -> None:
    """A process that runs out of memory fails its current request but not the next one."""
    async with open_worker(config, start_timeout=60, hang_timeout=60) as worker:
        process = psutil.Process((await started(worker)).pid)
        used = process.memory_info().vms
        process.rlimit(psutil.RLIMIT_AS, (used, used))
        huge = SpeechRequest((Turn("no end " * 500_000),))
        with pytest.raises(WorkerUnavailable):
            await speak(worker, huge)
        await started(worker)
        assert len(await speak(worker, SHORT)) == 2


async def test_waiting_request_survives_a_lost_worker() -> None:
    """A request waiting for a slot is spoken by the next worker."""
    one_slot = replace(ESPEAK, capacity=1)
    async with open_worker(one_slot, start_timeout=60, hang_timeout=60) as worker:
        await started(worker)
        async with aclosing(worker.synthesize(LONG)) as events:
            await anext(events)
            waiting = asyncio.create_task(speak(worker, SHORT))
            await asyncio.sleep(0)
            assert worker.pid is not None
            psutil.Process(worker.pid).kill()
            with pytest.raises(WorkerUnavailable):
                async for _ in events:
                    pass
        assert len(await asyncio.wait_for(waiting, 60)) == 2


@INSTALLED
async def test_closed_request_is_stopped_in_the_worker(config: ModelConfig) -> None:
    """Nothing more is generated for it: the worker is idle, though the rest of the text takes
    espeak 3 s of CPU time, and hibari 12 s."""
    async with open_worker(config, start_timeout=60, hang_timeout=60) as worker:
        process = psutil.Process((await started(worker)).pid)
        async with aclosing(worker.synthesize(LONG)) as events:
            await anext(events)
        assert await speak(worker, SHORT)  # it crossed the cancel on the pipe
        await asyncio.to_thread(wait_until_idle, process)


@INSTALLED
async def test_rejected_request_is_the_clients_fault(config: ModelConfig) -> None:
    """The model's rejection is passed on as such, and the worker continues."""
    async with open_worker(config, start_timeout=60, hang_timeout=60) as worker:
        await started(worker)
        with pytest.raises(SpeechRejected, match="nobody"):
            await speak(worker, SpeechRequest((Turn("Hello.", "nobody"),)))
        assert len(await speak(worker, SHORT)) == 2


async def test_worker_that_cannot_start_is_tried_again() -> None:
    """Until the worker has started, requests are rejected with the reason."""
    config = ModelConfig("realtime", folder="/nonexistent", voices="/nonexistent")
    async with open_worker(config, start_timeout=60, hang_timeout=60) as worker:
        pids = set()
        async with asyncio.timeout(120):
            while len(pids) < 2:
                pids |= {worker.pid} - {None}
                await asyncio.sleep(0.02)
        with pytest.raises(WorkerUnavailable, match=r"cannot be used\. The folder nonexist"):
            await speak(worker, SHORT)


async def test_worker_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker is retried even if the system cannot create processes, for example when out of
    memory."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with open_worker(ESPEAK, start_timeout=60, hang_timeout=60) as worker:
        async with asyncio.timeout(60):
            while not worker.restarts:
                await asyncio.sleep(0.02)
        monkeypatch.undo()
        assert len(await speak(await started(worker), SHORT)) == 2
    assert "could not be started: [Errno 2]" in caplog.text


@pytest.mark.parametrize("cut", [0, 1, 4_000], ids=["whole", "in the samples", "in the text"])
def test_worker_ends_with_its_parent(cut: int) -> None:
    """When its input ends, the process exits, even in the middle of a text or a message."""
    arguments = [sys.executable, "-m", "vibevoice_tts.worker", '{"kind": "espeak"}']
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe) as process:
        assert process.stdin and process.stdout
        ready = read_message(cast(BinaryIO, process.stdout))
        assert ready is not None and ready.kind == "ready"
        samples = {"a": np.zeros(100, np.float32)}
        message = request_message(1, replace(LONG, samples=samples if cut else {})).encode()
        process.stdin.write(message[: len(message) - cut])
        process.stdin.close()
        assert process.wait(30) == 0


def parts(message: Message) -> tuple[bytes, bytes]:
    """JSON and audio of an encoded message."""
    encoded = message.encode()
    text, audio = int.from_bytes(encoded[:4]), int.from_bytes(encoded[4:8])
    assert len(encoded) == 8 + text + audio
    return encoded[8 : 8 + text], encoded[8 + text :]


def test_request_survives_the_pipe() -> None:
    """Every field of a request arrives as it was sent."""
    samples = {"a": np.arange(3, dtype=np.float32), "b": np.arange(2, dtype=np.float32)}
    request = SpeechRequest(
        (Turn("x\n", "a"), Turn("é", "b")), cfg_scale=1.5, steps=5, seed=7, samples=samples
    )
    received = request_of(Message.decode(*parts(request_message(1, request))))
    assert {k: v.tolist() for k, v in received.samples.items()} == {"a": [0, 1, 2], "b": [0, 1]}
    assert received == replace(request, samples=received.samples)


@pytest.mark.parametrize(
    "event",
    [
        Prepared(7, found=1, computed=2, seconds=0.5),
        End(7, "length", 1.5),
        End(7, "stop", 0.25),
    ],
)
def test_event_survives_the_pipe(event: Event) -> None:
    """Every field of an event arrives as it was sent, with the id in place of the handle."""
    sent = event_message(7, replace(event, handle=1))
    assert event_of(Message.decode(*parts(sent))) == event


@pytest.mark.parametrize("error", [SpeechRejected("too long"), SpeechError("bad luck")])
def test_failure_survives_the_pipe(error: SpeechError) -> None:
    """A failure is raised with its message, and as SpeechRejected only if the client caused it."""
    sent = failure_message(7, error)
    with pytest.raises(SpeechError, match=f"^{error}$") as raised:
        event_of(Message.decode(*parts(sent)))
    assert raised.type is type(error)


class ScriptedWorker:
    """A worker with scripted output: sound (s), silence (-), then an end or none (!). Its requests
    count as waiting."""

    def __init__(self, *attempts: str) -> None:
        self.config = ModelConfig("longform", capacity=1)
        self.info = ModelInfo(24000, ("anna",), {"": "anna"})
        self.in_flight = 0
        self.seeds: list[int | None] = []
        self._attempts = list(attempts)

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Chunk | End]:
        self.seeds.append(request.seed)
        for what in (attempt := self._attempts.pop(0)).rstrip("!"):
            yield Chunk(1, np.full(24000, 0.5 if what == "s" else 0.0, np.float32))
        yield End(1, "length" if attempt.endswith("!") else "stop")


def synthesizer_of(worker: Any, **limits: int) -> Synthesizer:
    return Synthesizer(
        cast(WorkerProcess, worker), **{"max_waiting": 0, "passage_chars": 100, **limits}
    )


async def spoken(synthesizer: Synthesizer, script: Script) -> Samples:
    events = [event async for event in synthesizer.speak(script, synthesizer.plan(script))]
    return np.concatenate([event for event in events if not isinstance(event, Prepared | End)])


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        pytest.param("Yes.", "s!", id="short-without-end"),
        pytest.param("Yes.", "--", id="short-silent"),
        pytest.param("This is a longer passage of text.", "--", id="silent"),
        pytest.param("This is a longer passage of text.", "------!", id="silent-without-end"),
    ],
)
async def test_bad_passage_is_tried_again_with_another_seed(text: str, bad: str) -> None:
    """A passage that fails before anything is sent is retried once, and only the retry is sent."""
    worker = ScriptedWorker(bad, "ss")
    audio = await spoken(synthesizer_of(worker), Script(text, seed=7))
    assert worker.seeds == [7, 8]
    assert len(audio) / 24000 == pytest.approx(2.25, abs=0.01)


async def test_passage_that_is_bad_twice_is_an_error() -> None:
    """There is no third attempt."""
    worker = ScriptedWorker("--", "--")
    with pytest.raises(BadSpeech, match="only silence"):
        await spoken(synthesizer_of(worker), Script("Yes."))
    assert len(worker.seeds) == 2


async def test_speech_that_was_heard_is_not_made_again() -> None:
    """A longer passage is sent before its end is known, so a missing end is an error."""
    worker = ScriptedWorker("ss!")
    with pytest.raises(BadSpeech, match="did not stop"):
        await spoken(synthesizer_of(worker), Script("This is a longer passage of text."))
    assert len(worker.seeds) == 1


async def test_more_requests_than_may_wait_are_refused() -> None:
    """With one slot and a queue of one, a third request is rejected at once; after the first two
    have ended, the next one is accepted."""
    synthesizer = synthesizer_of(ScriptedWorker("s" * 9, "s", "s"), max_waiting=1)
    script = Script("This is a longer passage of text.")
    plan = synthesizer.plan(script)
    async with aclosing(synthesizer.speak(script, plan)) as first:
        await anext(first)
        async with aclosing(synthesizer.speak(script, plan)) as second:
            await anext(second)
            assert synthesizer.waiting == 2
            with pytest.raises(SpeechQueueFull):
                synthesizer.check_queue()
            with pytest.raises(SpeechQueueFull):
                await anext(synthesizer.speak(script, plan))
    assert synthesizer.waiting == 0
    async with aclosing(synthesizer.speak(script, plan)) as third:
        assert await anext(third) is not None
        assert synthesizer.waiting == 1
    assert synthesizer.waiting == 0


@pytest.mark.parametrize(
    ("kind", "voices", "expected"),
    [
        pytest.param("realtime", ("anna", "ben"), ["anna"], id="one-voice"),
        pytest.param("longform", tuple("abcdef"), ["a", "b", "c", "d", "a", "b"], id="four-voices"),
    ],
)
def test_more_speakers_than_voices_take_them_in_turn(
    kind: str, voices: tuple[str, ...], expected: list[str]
) -> None:
    """A model with one voice reads the whole script in it, without the labels."""
    worker = ScriptedWorker()
    worker.config = ModelConfig(kind, capacity=1)
    worker.info = ModelInfo(24000, voices, {"": voices[0]})
    text = "\n".join(f"Speaker {number}: Words {number}." for number in range(1, 7))
    plan = synthesizer_of(worker, passage_chars=1000).plan(Script(text))
    turns = [turn for passage in plan.passages for turn in passage]
    assert [turn.voice for turn in turns] == expected
    assert " ".join(turn.text for turn in turns) == " ".join(f"Words {n}." for n in range(1, 7))
