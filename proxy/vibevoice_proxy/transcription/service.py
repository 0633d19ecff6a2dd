"""The transcription service: turns a recording into segments and a transcript."""

import logging
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from time import monotonic
from typing import BinaryIO, cast

import numpy as np
from anyio import to_thread
from numpy.typing import NDArray
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from vibevoice_core.errors import AudioTooLong
from vibevoice_light import LightPool
from vibevoice_proxy.admission import Admission
from vibevoice_proxy.decoder import AudioDecoder
from vibevoice_proxy.errors import InvalidAudio, InvalidRequest, UpstreamError, storage_errors
from vibevoice_proxy.live import LiveOptions
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.transcription.assembly import assemble
from vibevoice_proxy.transcription.known_speakers import KnownSpeakers
from vibevoice_proxy.transcription.linking import link_stream, link_whole, number_speakers
from vibevoice_proxy.transcription.live_speakers import LiveSpeakers
from vibevoice_proxy.transcription.metrics import TranscriptionMetrics
from vibevoice_proxy.transcription.options import RecordingOptions
from vibevoice_proxy.transcription.routing import Route, Routing
from vibevoice_proxy.transcription.sections import Recording
from vibevoice_proxy.transcription.transcode import transcode
from vibevoice_proxy.transcription.transcript import Segment, Transcript
from vibevoice_proxy.transcription.translator import Translator
from vibevoice_proxy.transcription.voice_finder import VoiceFinder
from vibevoice_proxy.transcription.voices import KnownSpeaker
from vibevoice_proxy.upload import receive_form
from vibevoice_proxy.values import length_in_words

logger = logging.getLogger(__name__)


class TranscriptionService:
    """State shared by all transcription requests; created once per process."""

    def __init__(
        self,
        settings: Settings,
        *,
        routing: Routing,
        translator: Translator | None,
        decoder: AudioDecoder,
        voices: LightPool | None,
        known_speakers: KnownSpeakers,
        metrics: TranscriptionMetrics,
    ) -> None:
        """`routing` has no routes without a recognizer (`ASR_API=off`). `translator` is None
        without a translation model, and `voices` is None if voices are not compared."""
        self.settings = settings
        self.known_speakers = known_speakers
        self._voices = voices
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
        """Each recognizer (`asr`, `light`) → `ok`, or why it cannot serve requests now."""
        parts: dict[str, str] = {}
        for route in self._routing.routes:
            try:
                await route.recognizer.check_health()
            except UpstreamError as error:
                parts[route.part] = str(error)
            else:
                parts[route.part] = "ok"
        return parts

    def check(self, options: RecordingOptions | LiveOptions) -> Route:
        """The route of a request. Raises ModelNotFound for a model that is not served, and
        InvalidRequest for a language that the model does not support."""
        route = self._routing.find(options.model)
        route.recognizer.check(options.possible_languages)
        return route

    def check_translation(self) -> None:
        """Raises InvalidRequest if no translation model is configured."""
        if self._translator is None:
            raise InvalidRequest(
                "This server cannot translate: no translation model is configured. "
                "Use /v1/audio/transcriptions.",
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
        """Decode `upload`, then yield each segment as soon as the recognizer has written it, and
        the transcript at the end. Close the iterator to stop all work."""
        route = self._routing.find(options.model)
        metrics = self._metrics
        known = await self.known_speakers.collect(*options.known)
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
            results = self._recognize(route, recording, options, request_id, known)
            async with aclosing(results):
                async for result in results:
                    yield result

    async def transcribe_turn(
        self, samples: NDArray[np.int16], options: LiveOptions, request_id: str
    ) -> AsyncGenerator[Segment | Transcript]:
        """Like `transcribe`, for a turn of a live conversation: `samples` at 24 kHz, shape
        (samples,). The turn counts as a request in flight."""
        route = self._routing.find(options.model)
        async with self._admission.place():
            with ExitStack() as files:
                recording = await to_thread.run_sync(
                    self._encode, files, iter([samples]), route.recognizer.max_section_seconds
                )
                results = self._recognize(route, recording, options, request_id)
                async with aclosing(results):
                    async for result in results:
                        yield result

    def live_speakers(self) -> LiveSpeakers | None:
        """Create the labeler for the speakers of a new live conversation; None if voices are not
        compared."""
        if self._voices is None:
            return None
        finder = VoiceFinder(self._voices, self._metrics)
        return LiveSpeakers(finder, self.settings.speaker_threshold)

    async def _recognize(
        self,
        route: Route,
        recording: Recording,
        options: RecordingOptions | LiveOptions,
        request_id: str,
        known: Sequence[KnownSpeaker] = (),
    ) -> AsyncGenerator[Segment | Transcript]:
        metrics = self._metrics
        started = monotonic()
        results = assemble(
            route.recognizer,
            recording,
            options.info,
            options.possible_languages,
            request_id,
            concurrency=self.settings.section_concurrency,
            is_streamed=options.is_streamed,
        )
        results = self._labeled(self._timed(results, started), recording, options, known)
        try:
            async with aclosing(results):
                async for result in results:
                    if isinstance(result, Transcript):
                        metrics.transcribed(result.duration, monotonic() - started)
                        for part in result.missing:
                            metrics.missing(part.reason, part.end - part.start)
                    yield result
        except UpstreamError as error:
            metrics.upstream_error(route.part, error.code)
            raise

    async def _timed(
        self, results: AsyncGenerator[Segment | Transcript], started: float
    ) -> AsyncGenerator[Segment | Transcript]:
        """`results`, recording the time of the first segment."""
        has_begun = False
        async with aclosing(results):
            async for result in results:
                if not has_begun and isinstance(result, Segment):
                    has_begun = True
                    self._metrics.first_segment(monotonic() - started)
                yield result

    def _labeled(
        self,
        results: AsyncGenerator[Segment | Transcript],
        recording: Recording,
        options: RecordingOptions | LiveOptions,
        known: Sequence[KnownSpeaker],
    ) -> AsyncGenerator[Segment | Transcript]:
        """`results` with the speakers of several sections and known speakers labeled, as the
        settings and `options` specify."""
        is_one = len(recording.sections) == 1
        if is_one and not known:
            return results
        if isinstance(options, LiveOptions) or self._voices is None:
            return number_speakers(results)
        if not options.tells_speakers:
            return results
        link = link_stream if options.is_streamed else link_whole
        finder = VoiceFinder(self._voices, self._metrics)
        return link(results, recording, finder, known, self.settings.speaker_threshold)

    async def translate(
        self, upload: UploadFile, options: RecordingOptions, request_id: str
    ) -> Transcript:
        """The transcript of `upload` in English."""
        assert self._translator, "`check_translation` has rejected the request"
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
        seconds = self.settings.max_audio_seconds

        def consume(blocks: Iterator[NDArray[np.int16]]) -> Recording:
            try:
                return self._encode(files, blocks, max_section_seconds)
            except AudioTooLong as error:
                raise InvalidAudio(
                    f"The recording is longer than {length_in_words(seconds)}, "
                    "the maximum for one request. Send it in shorter parts.",
                    code=error.code,
                ) from error

        recording, lost_seconds = await self._decoder.run(upload.file, seconds, consume)
        return replace(recording, lost_seconds=lost_seconds)

    def _encode(
        self, files: ExitStack, blocks: Iterator[NDArray[np.int16]], max_section_seconds: float
    ) -> Recording:
        """`blocks` as a recording whose files are closed with `files`."""
        settings = self.settings

        def new_file() -> BinaryIO:
            # On Linux the file has no name (O_TMPFILE): nothing is left if the process is killed.
            with storage_errors():
                file = tempfile.TemporaryFile(buffering=0, dir=settings.spool_dir or None)
            return cast(BinaryIO, files.enter_context(file))

        return transcode(
            blocks,
            new_file,
            encoding=settings.upstream_audio_format,
            max_section_seconds=min(max_section_seconds, settings.max_audio_seconds),
        )


async def final(results: AsyncGenerator[Segment | Transcript]) -> Transcript:
    """The transcript at the end of `results`."""
    async with aclosing(results):
        async for result in results:
            if isinstance(result, Transcript):
                return result
    raise RuntimeError("a transcription ended without its transcript")


def transcription_of(request: Request) -> TranscriptionService:
    """The transcription service of the process that handles `request`."""
    return cast(TranscriptionService, request.state.transcription)
