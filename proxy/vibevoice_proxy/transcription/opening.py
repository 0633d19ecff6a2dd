"""The transcription service from its settings, with all that it uses open."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from anyio import to_thread
from prometheus_client import CollectorRegistry

from vibevoice_light import is_tiny_english, open_pool
from vibevoice_proxy.decoder import AudioDecoder
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.transcription.assembly import Recognizer
from vibevoice_proxy.transcription.light import LightRecognizer
from vibevoice_proxy.transcription.metrics import TranscriptionMetrics
from vibevoice_proxy.transcription.openai_server import OpenAIRecognizer
from vibevoice_proxy.transcription.routing import build_routing, choose_light
from vibevoice_proxy.transcription.service import TranscriptionService
from vibevoice_proxy.transcription.translator import open_translator
from vibevoice_proxy.transcription.upstream import Upstream, open_client
from vibevoice_proxy.transcription.vibevoice import VibeVoiceRecognizer


@asynccontextmanager
async def open_transcription(
    settings: Settings, decoder: AudioDecoder, registry: CollectorRegistry
) -> AsyncIterator[TranscriptionService]:
    """The service with its HTTP clients open until the block ends; it counts in `registry`."""
    metrics = TranscriptionMetrics(registry)
    async with (
        open_client(settings) as client,
        open_translator(settings) as translator,
        _open_light(settings) as light,
    ):
        yield TranscriptionService(
            settings,
            routing=build_routing(settings, _engine(client, settings, metrics), light),
            translator=translator,
            decoder=decoder,
            metrics=metrics,
        )


@asynccontextmanager
async def _open_light(settings: Settings) -> AsyncIterator[LightRecognizer | None]:
    """The light recognizer where the settings want it; its processes run until the block ends."""
    folder = await to_thread.run_sync(choose_light, settings)  # reads the model once
    if folder is None:
        yield None
        return
    async with open_pool(folder, settings.light_workers) as pool:
        yield LightRecognizer(
            pool,
            timeout=settings.transcription_timeout,
            is_english=is_tiny_english(folder),
        )


def _engine(
    client: httpx2.AsyncClient, settings: Settings, metrics: TranscriptionMetrics
) -> Recognizer | None:
    match settings.asr_api:
        case "chat":
            upstream = Upstream(client, settings)
            return VibeVoiceRecognizer(upstream, metrics, settings.max_section_seconds)
        case "transcriptions":
            return OpenAIRecognizer(client, settings)
        case "off":
            return None
