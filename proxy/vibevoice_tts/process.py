"""The worker as the proxy sees it: a child process that speaks."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict

from vibevoice_core.worker_process import WorkerLost, running
from vibevoice_core.worker_process import WorkerProcess as AnyWorkerProcess
from vibevoice_tts.models import ModelConfig
from vibevoice_tts.protocol import ModelInfo, event_of, request_message
from vibevoice_tts.speech_model import End, Event, SpeechError, SpeechRequest


class WorkerUnavailable(SpeechError):
    """The worker is not ready, or it was lost while it spoke; a retry can help."""


class WorkerProcess(AnyWorkerProcess):
    """One model in one child process."""

    def __init__(self, config: ModelConfig, *, start_timeout: float, hang_timeout: float) -> None:
        """`start_timeout` is the seconds that loading may take; `hang_timeout` is the seconds that
        the process may be silent while requests are in flight, after which it is killed."""
        super().__init__(
            config.card.name,
            "vibevoice_tts.worker",
            json.dumps(asdict(config)),
            capacity=config.capacity,
            start_timeout=start_timeout,
            hang_timeout=hang_timeout,
        )
        self.config = config

    @property
    def info(self) -> ModelInfo | None:
        """What the worker said of its model; None before its first start."""
        return None if self.greeting is None else ModelInfo.from_fields(self.greeting)

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Event]:
        """The speech of `request` as it is made; close the generator to stop it.

        Waits for a free slot. Raises WorkerUnavailable when the worker is not ready or is lost,
        SpeechRejected for what the client must change, SpeechError when speaking fails.
        """
        try:
            async with self.exchange() as exchange:
                exchange.send(request_message(exchange.number, request))
                while True:
                    event = event_of(await exchange.receive())
                    yield event
                    if isinstance(event, End):
                        return
        except WorkerLost as error:
            raise WorkerUnavailable(str(error)) from error


@asynccontextmanager
async def open_worker(
    config: ModelConfig, *, start_timeout: float, hang_timeout: float
) -> AsyncIterator[WorkerProcess]:
    """A worker that is kept alive until the block ends; it may not be ready yet."""
    worker = WorkerProcess(config, start_timeout=start_timeout, hang_timeout=hang_timeout)
    async with running(worker):
        yield worker
