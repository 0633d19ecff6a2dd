"""The transcription service: one recording in, its segments and its transcript out."""

import logging
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager
from time import monotonic
from typing import BinaryIO, cast

import httpx2
import numpy as np
from anyio import to_thread
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from vibevoice_core.errors import AudioTooLong
from vibevoice_light import is_tiny_english, open_pool
from vibevoice_proxy.admission import Admission
from vibevoice_proxy.decoder import AudioDecoder
from vibevoice_proxy.errors import (
    InvalidAudio,
    InvalidRequest,
    UpstreamError,
    storage_errors,
)
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.transcription.assembly import Recognizer, assemble
from vibevoice_proxy.transcription.light import LightRecognizer
from vibevoice_proxy.transcription.light_metrics import LightMetrics
from vibevoice_proxy.transcription.metrics import TranscriptionMetrics
from vibevoice_proxy.transcription.openai_server import OpenAIRecognizer
from vibevoice_proxy.transcription.options import RecordingOptions
from vibevoice_proxy.transcription.routing import Routing, build_routing, choose_light
from vibevoice_proxy.transcription.sections import Recording
from vibevoice_proxy.transcription.transcode import transcode
from vibevoice_proxy.transcription.transcript import Segment, Transcript
from vibevoice_proxy.transcription.translator import Translator, open_translator
from vibevoice_proxy.transcription.upstream import Upstream, open_client
from vibevoice_proxy.transcription.vibevoice import VibeVoiceRecognizer
from vibevoice_proxy.upload import receive_form

logger = logging.getLogger(__name__)


class TranscriptionService:
    """What all transcription requests share; made once for each process."""

    def __init__(
        self,
        settings: Settings,
        *,
        routing: Routing,
        translator: Translator | None,
        decoder: AudioDecoder,
        metrics: TranscriptionMetrics,
    ) -> None:
        """`routing` has no routes where nothing recognizes (`ASR_API=off`), `translator` is None
        without a translating model."""
        self.settings = settings
        self._routing = routing
        self._translator = translator
        self._decoder = decoder
        self._metrics = metrics
        self._admission = Admission(
            settings.max_concurrency, settings.max_queue, settings.queue_timeout
        )
        metrics.watch(self._admission)

    @property
    def model_names(self) -> Sequence[str]:
        """Names of the served models; none without a recognizer."""
        return self._routing.names

    async def check_health(self) -> dict[str, str]:
        """Each recognizer's part (`asr`, `light`) → `ok`, or why it cannot serve requests now."""
        parts: dict[str, str] = {}
        for route in self._routing.routes:
            try:
                await route.recognizer.check_health()
            except UpstreamError as error:
                parts[route.part] = str(error)
            else:
                parts[route.part] = "ok"
        return parts

    def check(self, options: RecordingOptions) -> None:
        """Raises ModelNotFound for a model that is not served, and InvalidRequest for a language
        that it does not know."""
        route = self._routing.find(options.model)
        route.recognizer.check_language(options.spoken_language)

    def check_translation(self) -> None:
        """Raises InvalidRequest when no translating model is configured."""
        if self._translator is None:
            raise InvalidRequest(
                "This server transcribes but does not translate: no translating model is "
                "configured. Use /v1/audio/transcriptions.",
                code="unsupported",
            )

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[FormData]:
        """The form of `request`, which counts as in flight until the block ends."""
        settings = self.settings
        if not self._routing.routes:
            self._routing.find("")
        async with self._admission.place():
            started = monotonic()
            received = receive_form(
                request,
                settings.max_upload_bytes,
                timeout=settings.upload_timeout,
                spool_dir=settings.spool_dir or None,
            )
            async with received as form:
                logger.info("received the request in %.2f s", monotonic() - started)
                yield form

    async def transcribe(
        self, upload: UploadFile, options: RecordingOptions, request_id: str
    ) -> AsyncGenerator[Segment | Transcript]:
        """Decodes `upload`; then each segment as soon as the recognizer has written it, and the
        transcript at the end. Close the iterator to stop all work."""
        route = self._routing.find(options.model)
        metrics = self._metrics
        with ExitStack() as files:
            started = monotonic()
            seconds = route.recognizer.max_section_seconds
            recording = await self._decode(upload, files, seconds)
            decoded = monotonic()
            metrics.decoded(decoded - started)
            logger.info(
                "decoded %.2f s of audio from %s bytes to %d in %.2f s",
                recording.duration,
                upload.size,
                recording.size,
                decoded - started,
            )
            results = assemble(
                route.recognizer,
                recording,
                options.info,
                options.spoken_language,
                request_id,
                concurrency=self.settings.section_concurrency,
            )
            has_begun = False
            try:
                async with aclosing(results):
                    async for result in results:
                        if isinstance(result, Transcript):
                            metrics.transcribed(result.duration, monotonic() - decoded)
                            for part in result.missing:
                                metrics.missing(part.reason, part.end - part.start)
                        elif not has_begun:
                            has_begun = True
                            metrics.first_segment(monotonic() - decoded)
                        yield result
            except UpstreamError as error:
                metrics.upstream_error(route.part, error.code)
                raise

    async def translate(
        self, upload: UploadFile, options: RecordingOptions, request_id: str
    ) -> Transcript:
        """The transcript of `upload` in English."""
        assert self._translator, "`check_translation` has refused the request"
        transcript = await final(self.transcribe(upload, options, request_id))
        try:
            return await self._translator.translate(transcript)
        except UpstreamError as error:
            self._metrics.upstream_error("translate", error.code)
            raise

    async def _decode(
        self, upload: UploadFile, files: ExitStack, max_section_seconds: float
    ) -> Recording:
        """The recording in `upload`, in temporary files that are closed with `files`."""
        settings = self.settings

        def new_file() -> BinaryIO:
            # On Linux it never has a name (O_TMPFILE): nothing is left when the process is killed.
            with storage_errors():
                file = tempfile.TemporaryFile(buffering=0, dir=settings.spool_dir or None)
            return cast(BinaryIO, files.enter_context(file))

        def consume(blocks: Iterator[NDArray[np.int16]]) -> Recording:
            try:
                return transcode(
                    blocks,
                    new_file,
                    encoding=settings.upstream_audio_format,
                    max_section_seconds=min(max_section_seconds, settings.max_audio_seconds),
                )
            except AudioTooLong as error:
                raise InvalidAudio(
                    f"The recording is longer than {settings.max_audio_seconds / 60:g} minutes, "
                    "the most that one request can hold. Send it in shorter parts.",
                    code=error.code,
                ) from error

        return await self._decoder.run(upload.file, settings.max_audio_seconds, consume)


async def final(results: AsyncGenerator[Segment | Transcript]) -> Transcript:
    """The transcript at the end of `results`."""
    async with aclosing(results):
        async for result in results:
            if isinstance(result, Transcript):
                return result
    raise RuntimeError("a transcription ended without its transcript")


@asynccontextmanager
async def open_transcription(
    settings: Settings, decoder: AudioDecoder, registry: CollectorRegistry
) -> AsyncIterator[TranscriptionService]:
    """The service with its HTTP clients open until the block ends; it counts in `registry`."""
    metrics = TranscriptionMetrics(registry)
    async with (
        open_client(settings) as client,
        open_translator(settings) as translator,
        _open_light(settings, registry) as light,
    ):
        yield TranscriptionService(
            settings,
            routing=build_routing(settings, _engine(client, settings, metrics), light),
            translator=translator,
            decoder=decoder,
            metrics=metrics,
        )


@asynccontextmanager
async def _open_light(
    settings: Settings, registry: CollectorRegistry
) -> AsyncIterator[LightRecognizer | None]:
    """The light recognizer where the settings want it; its processes run until the block ends, and
    `registry` tells of them."""
    folder = await to_thread.run_sync(choose_light, settings)  # reads the model once
    if folder is None:
        yield None
        return
    async with open_pool(folder, settings.light_workers) as pool:
        registry.register(LightMetrics(pool))
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


def transcription_of(request: Request) -> TranscriptionService:
    """The transcription service of the process that serves `request`."""
    return cast(TranscriptionService, request.state.transcription)
