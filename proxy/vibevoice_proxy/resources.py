"""What the process holds open for its requests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import time
from typing import cast

from anyio import CapacityLimiter
from starlette.requests import Request

from vibevoice_proxy.admission import Admission
from vibevoice_proxy.metrics import Metrics
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.synthesizers import Synthesizers, open_synthesizers
from vibevoice_proxy.transcriber import Transcriber
from vibevoice_proxy.translator import Translator, open_translator
from vibevoice_proxy.upstream import Upstream, open_upstream


@dataclass(frozen=True, slots=True)
class Resources:
    """Made once, at the start of the process, and handed to every request."""

    settings: Settings
    upstream: Upstream
    transcriber: Transcriber
    admission: Admission
    decoders: CapacityLimiter
    """Bounds the threads that decode uploads."""
    metrics: Metrics
    synthesizers: Synthesizers
    translator: Translator | None
    """None when no translating model is configured."""
    started: int
    """Unix time in seconds."""


@asynccontextmanager
async def open_resources(settings: Settings, metrics: Metrics) -> AsyncIterator[Resources]:
    """The resources, closed at the end of the process."""
    async with (
        open_upstream(settings) as upstream,
        open_synthesizers(settings) as synthesizers,
        open_translator(settings) as translator,
    ):
        decoders = CapacityLimiter(settings.ffmpeg_max_concurrency)
        transcriber = Transcriber(upstream, metrics, settings.piece_concurrency)
        admission = Admission(settings.max_concurrency, settings.max_queue, settings.queue_timeout)
        metrics.watch_admission(lambda: admission.in_flight, lambda: admission.waiting)
        yield Resources(
            settings,
            upstream,
            transcriber,
            admission,
            decoders,
            metrics,
            synthesizers,
            translator,
            int(time()),
        )


def resources_of(request: Request) -> Resources:
    """The resources of the process that serves `request`."""
    return cast(Resources, request.state.resources)
