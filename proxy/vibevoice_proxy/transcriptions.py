"""POST /v1/audio/transcriptions: a recording in, a transcript out."""

import logging
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager
from functools import partial
from time import monotonic
from typing import BinaryIO, cast

from anyio import from_thread, to_thread
from fastapi import APIRouter, Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from vibevoice_proxy.audio import transcode
from vibevoice_proxy.disconnect import until_disconnect
from vibevoice_proxy.errors import ModelNotFound, UpstreamError
from vibevoice_proxy.events import stream_events
from vibevoice_proxy.formats import render
from vibevoice_proxy.options import RecordingOptions, TranscriptionOptions, body_schema
from vibevoice_proxy.pieces import Recording
from vibevoice_proxy.resources import Resources, resources_of
from vibevoice_proxy.transcript import Segment, Transcript
from vibevoice_proxy.upload import receive_form, uploaded_file

TRUNCATED = "x-vibevoice-truncated"
"""Header of an answer that misses a part: why it does (`Transcript.truncated`)."""

router = APIRouter()
logger = logging.getLogger(__name__)


@router.post(
    "/v1/audio/transcriptions",
    response_class=Response,
    openapi_extra=body_schema(TranscriptionOptions),
)
@router.post("/audio/transcriptions", include_in_schema=False)
async def create_transcription(request: Request) -> Response:
    """Transcribe a recording with speakers and times."""
    resources = resources_of(request)
    async with AsyncExitStack() as files:
        form = await files.enter_async_context(receive_recording(request))
        options = TranscriptionOptions.from_form(form, resources.settings)
        results = transcribe(uploaded_file(form), options, request)
        if options.stream:
            ping_interval = resources.settings.ping_interval
            return stream_events(results, options.response_format, files.pop_all(), ping_interval)
        transcript = await until_disconnect(request, partial(last, results))
        return respond(transcript, options.response_format)


@asynccontextmanager
async def receive_recording(request: Request) -> AsyncIterator[FormData]:
    """The form of `request`, with a place among the requests in flight, until the block ends."""
    resources = resources_of(request)
    settings = resources.settings
    if resources.transcriber is None:
        raise ModelNotFound("This server does not transcribe (ASR_API=off).", param="model")
    async with resources.admission.place():
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
    upload: UploadFile, options: RecordingOptions, request: Request
) -> AsyncGenerator[Segment | Transcript]:
    """Decodes `upload`; then each segment as soon as the model has written it, and the transcript
    at the end. Close the iterator to stop all work."""
    resources = resources_of(request)
    metrics, transcriber = resources.metrics, resources.transcriber
    assert transcriber, "receive_recording has refused the request"
    with ExitStack() as files:
        started = monotonic()
        recording = await _decode(upload, files, resources)
        decoded = monotonic()
        metrics.decoded(decoded - started)
        logger.info(
            "decoded %.2f s of audio from %s bytes to %d in %.2f s",
            recording.duration,
            upload.size,
            recording.size,
            decoded - started,
        )
        results = transcriber.transcribe(
            recording, options.info, options.spoken_language, request.state.request_id
        )
        segments = 0
        try:
            async with aclosing(results):
                async for result in results:
                    if isinstance(result, Transcript):
                        metrics.transcribed(result.duration, monotonic() - decoded)
                    elif not segments:
                        metrics.first_segment(monotonic() - decoded)
                    segments += 1
                    yield result
        except UpstreamError as error:
            metrics.upstream_error("asr", error.code)
            raise


async def last(results: AsyncGenerator[Segment | Transcript]) -> Transcript:
    """The transcript at the end of `results`."""
    async with aclosing(results):
        async for result in results:
            if isinstance(result, Transcript):
                return result
    raise RuntimeError("a transcription ended without its transcript")


def respond(transcript: Transcript, response_format: str) -> Response:
    """The whole `transcript` as an answer."""
    rendering = render(transcript, response_format)
    headers = {TRUNCATED: transcript.truncated} if transcript.truncated else None
    return Response(rendering.body, headers=headers, media_type=rendering.media_type)


async def _decode(upload: UploadFile, files: ExitStack, resources: Resources) -> Recording:
    """The recording in `upload`, in temporary files that are closed with `files`."""
    settings = resources.settings

    def new_file() -> BinaryIO:
        # On Linux it never has a name (O_TMPFILE), so nothing is left when the process is killed.
        file = tempfile.TemporaryFile(buffering=0, dir=settings.spool_dir or None)
        return cast(BinaryIO, files.enter_context(file))

    return await to_thread.run_sync(
        partial(
            transcode,
            upload.file,
            new_file,
            encoding=settings.upstream_audio_format,
            max_seconds=settings.max_audio_seconds,
            max_piece_seconds=settings.max_piece_seconds,
            timeout=settings.decode_timeout,
            check_cancelled=from_thread.check_cancelled,
        ),
        limiter=resources.decoders,
    )
