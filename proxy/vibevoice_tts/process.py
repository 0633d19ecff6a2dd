"""The proxy's side of a speech worker: starts the child process and sends it requests."""

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
    """The worker is not ready, or it died while speaking; a retry can help."""


class WorkerProcess(AnyWorkerProcess):
    """One model in one child process."""

    def __init__(self, config: ModelConfig, *, start_timeout: float, hang_timeout: float) -> None:
        """`start_timeout`: maximum seconds for loading. `hang_timeout`: the process is killed if it
        sends nothing for this many seconds while requests are in flight."""
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
        """What the worker reported about its model; None before its first start."""
        return None if self.greeting is None else ModelInfo.from_fields(self.greeting)

    async def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Event]:
        """Yield the speech for `request` as it is generated; close the generator to stop.

        Waits for a free slot. Raises WorkerUnavailable if the worker is not ready or dies,
        SpeechRejected if the client must change the request, SpeechError if speaking fails.
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
    """Keep a worker running until the block ends; it may not be ready yet when the block starts."""
    worker = WorkerProcess(config, start_timeout=start_timeout, hang_timeout=hang_timeout)
    async with running(worker):
        yield worker
