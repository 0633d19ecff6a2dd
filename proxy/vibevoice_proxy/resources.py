"""What the process holds open for its requests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import cast

import httpx2
from anyio import CapacityLimiter
from starlette.requests import Request

from vibevoice_proxy.admission import Admission
from vibevoice_proxy.engine import Engine
from vibevoice_proxy.metrics import Metrics
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.synthesizers import Synthesizers, open_synthesizers
from vibevoice_proxy.transcriber import Recognizer, Transcriber
from vibevoice_proxy.transcription_server import TranscriptionServer
from vibevoice_proxy.translator import Translator, open_translator
from vibevoice_proxy.upstream import Upstream, open_client
from vibevoice_proxy.voice_store import VoiceStore

LARGE_SPEECH = 8
"""Speech requests of up to 16 MiB that are read and decoded at the same time."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Made once, at the start of the process, and handed to every request."""

    settings: Settings
    transcriber: Transcriber | None
    """None when there is no engine (`ASR_API=off`)."""
    admission: Admission
    decoders: CapacityLimiter
    """Bounds the threads that decode uploads."""
    metrics: Metrics
    synthesizers: Synthesizers
    large_speech: Admission
    """Bounds the memory of speech requests that bring a voice: their bodies are read whole."""
    voices: VoiceStore | None
    """Voices that clients have stored; None where they may not."""
    translator: Translator | None
    """None when no translating model is configured."""
    started: int
    """Unix time in seconds."""


@asynccontextmanager
async def open_resources(settings: Settings, metrics: Metrics) -> AsyncIterator[Resources]:
    """The resources, closed at the end of the process."""
    async with (
        open_client(settings) as client,
        open_synthesizers(settings) as synthesizers,
        open_translator(settings) as translator,
    ):
        decoders = CapacityLimiter(settings.ffmpeg_max_concurrency)
        recognizer = _recognizer(client, settings, metrics)
        transcriber = None
        if recognizer:
            transcriber = Transcriber(recognizer, settings.piece_concurrency)
        admission = Admission(settings.max_concurrency, settings.max_queue, settings.queue_timeout)
        metrics.watch_admission(lambda: admission.in_flight, lambda: admission.waiting)
        metrics.speech.watch(synthesizers.models)
        voices = None
        if settings.voice_uploads:
            voices = VoiceStore(Path(settings.voice_dir), settings.max_voices)
        yield Resources(
            settings,
            transcriber,
            admission,
            decoders,
            metrics,
            synthesizers,
            Admission(LARGE_SPEECH, settings.tts_max_queue, settings.queue_timeout),
            voices,
            translator,
            int(time()),
        )


def _recognizer(
    client: httpx2.AsyncClient, settings: Settings, metrics: Metrics
) -> Recognizer | None:
    match settings.asr_api:
        case "chat":
            return Engine(Upstream(client, settings), metrics)
        case "transcriptions":
            return TranscriptionServer(client, settings)
        case "off":
            return None


def resources_of(request: Request) -> Resources:
    """The resources of the process that serves `request`."""
    return cast(Resources, request.state.resources)
