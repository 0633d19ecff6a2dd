"""Builds the transcription service from the settings."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
from anyio import to_thread
from prometheus_client import CollectorRegistry

from vibevoice_light import (
    LightPool,
    ModelFilesMissing,
    find_moonshine,
    is_tiny_english,
    open_pool,
    open_voices,
)
from vibevoice_proxy.decoder import AudioDecoder
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.transcription.assembly import Recognizer
from vibevoice_proxy.transcription.known_speakers import KnownSpeakers
from vibevoice_proxy.transcription.light import LightRecognizer, LightUnavailable
from vibevoice_proxy.transcription.light_metrics import LightMetrics
from vibevoice_proxy.transcription.metrics import TranscriptionMetrics
from vibevoice_proxy.transcription.openai_server import OpenAIRecognizer
from vibevoice_proxy.transcription.references import VoiceReader
from vibevoice_proxy.transcription.routing import build_routing
from vibevoice_proxy.transcription.service import TranscriptionService
from vibevoice_proxy.transcription.speaker_store import SpeakerStore
from vibevoice_proxy.transcription.translator import open_translator
from vibevoice_proxy.transcription.upstream import Upstream, open_client
from vibevoice_proxy.transcription.vibevoice import VibeVoiceRecognizer

logger = logging.getLogger(__name__)


@asynccontextmanager
async def open_transcription(
    settings: Settings, decoder: AudioDecoder, registry: CollectorRegistry
) -> AsyncIterator[TranscriptionService]:
    """The service, with its HTTP clients open until the block ends; its metrics go to
    `registry`."""
    metrics = TranscriptionMetrics(registry)
    async with (
        open_client(settings) as client,
        open_translator(settings) as translator,
        _open_light(settings, registry) as light,
        _open_voices(settings, light) as voices,
    ):
        yield TranscriptionService(
            settings,
            routing=build_routing(settings, _engine(client, settings, metrics), light),
            translator=translator,
            decoder=decoder,
            voices=voices,
            known_speakers=KnownSpeakers(
                VoiceReader(decoder, voices) if voices else None,
                _store(settings),
                settings.max_known_speakers,
            ),
            metrics=metrics,
        )


@asynccontextmanager
async def _open_light(
    settings: Settings, registry: CollectorRegistry
) -> AsyncIterator[LightRecognizer | LightUnavailable | None]:
    """The light recognizer if the settings enable it, with its processes running until the block
    ends and their metrics in `registry`."""
    if not settings.uses_light:
        yield None
        return
    try:
        folder = await to_thread.run_sync(find_moonshine, settings.light_models)  # reads the files
    except ModelFilesMissing as error:
        reason = f"{error} Or set VIBEVOICE_LIGHT=off to use the engine for every model name."
        logger.error("%s Until then, requests for its model names get 503.", reason)
        yield LightUnavailable(reason)
        return
    async with open_pool(folder, settings.light_workers) as pool:
        registry.register(LightMetrics(pool))
        yield LightRecognizer(
            pool,
            timeout=settings.transcription_timeout,
            is_english=is_tiny_english(folder),
            other_model=_multilingual_model(settings),
        )


def _multilingual_model(settings: Settings) -> str | None:
    """The engine's model, unless it is the embedded checkpoint, which only recognizes digits."""
    has_one = settings.has_real_engine and settings.asr_api != "off"
    return settings.served_model_name if has_one else None


@asynccontextmanager
async def _open_voices(
    settings: Settings, light: LightRecognizer | LightUnavailable | None
) -> AsyncIterator[LightPool | None]:
    """The pool that compares voices, if the settings enable it: the light recognizer's processes,
    or a separate process that starts on first use."""
    if not settings.speaker_linking:
        yield None
        return
    if isinstance(light, LightRecognizer):
        yield light.pool
        return
    async with open_voices() as pool:
        yield pool


def _store(settings: Settings) -> SpeakerStore | None:
    if not settings.speaker_enrollment:
        return None
    return SpeakerStore(Path(settings.speaker_dir), settings.max_enrolled_speakers)


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
