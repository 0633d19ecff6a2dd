"""POST /v1/audio/transcriptions: a recording in, a transcript out."""

import logging
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from functools import partial
from time import monotonic
from typing import BinaryIO, cast

from anyio import from_thread, to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from vibevoice_proxy.audio import Recording, transcode
from vibevoice_proxy.disconnect import until_disconnect
from vibevoice_proxy.errors import UpstreamError
from vibevoice_proxy.events import EventStream, transcription_events
from vibevoice_proxy.formats import render
from vibevoice_proxy.options import TranscriptionOptions, form_schema
from vibevoice_proxy.resources import Resources, resources_of
from vibevoice_proxy.transcript import Segment, Transcript, TranscriptDecoder, Usage
from vibevoice_proxy.upload import receive_form, uploaded_file
from vibevoice_proxy.upstream import AUDIO_TOKEN_SAMPLES, Finish, TextDelta, TokenCount, Upstream

router = APIRouter()
logger = logging.getLogger(__name__)


@router.post("/v1/audio/transcriptions", response_class=Response, openapi_extra=form_schema())
@router.post("/audio/transcriptions", include_in_schema=False)
async def create_transcription(request: Request) -> Response:
    """Transcribe a recording with speakers and times."""
    resources = resources_of(request)
    request_id: str = request.state.request_id
    started = monotonic()
    files = AsyncExitStack()
    try:
        form = await files.enter_async_context(
            receive_form(request, resources.settings.max_upload_bytes)
        )
        received = monotonic()
        options = TranscriptionOptions.from_form(form, resources.settings)
        upload = uploaded_file(form)
        encoded = files.enter_context(tempfile.TemporaryFile(buffering=0))

        async def answer() -> Response:
            recording = await _transcode(upload.file, cast(BinaryIO, encoded), resources)
            logger.info(
                "%s received %d bytes in %.2f s, decoded %.2f s of audio to %d bytes in %.2f s",
                request_id,
                upload.size,
                received - started,
                recording.duration,
                recording.size,
                monotonic() - received,
            )
            results = transcribe(resources.upstream, recording, options, request_id)
            if options.stream:
                # The first result is awaited here: a failure before it has a status of its own.
                first = await anext(results)
                events = transcription_events(first, results, options.response_format)
                return EventStream(events, files.pop_all())
            rendering = render(await _last(results), options.response_format)
            return Response(rendering.body, media_type=rendering.media_type)

        return await until_disconnect(request, answer)
    finally:
        await files.aclose()


async def transcribe(
    upstream: Upstream, recording: Recording, options: TranscriptionOptions, request_id: str
) -> AsyncGenerator[Segment | Transcript]:
    """Each segment as soon as the model has written it, and the transcript at the end."""
    if recording.is_silent:
        yield Transcript((), recording.duration, language=options.spoken_language)
        return
    started = monotonic()
    decoder = TranscriptDecoder(recording.duration)
    segments: list[Segment] = []
    usage: Usage | None = None
    async with aclosing(upstream.transcribe(recording, options.info, request_id)) as events:
        async for event in events:
            match event:
                case TextDelta(text):
                    for segment in decoder.feed(text):
                        segments.append(segment)
                        yield segment
                case TokenCount(prompt, completion):
                    audio_tokens = -(-recording.samples // AUDIO_TOKEN_SAMPLES)
                    usage = Usage(prompt, completion, min(audio_tokens, prompt))
                case Finish(reason) if reason != "stop":
                    logger.warning("%s: the model was cut off (%s)", request_id, reason)
    for segment in decoder.finish():
        segments.append(segment)
        yield segment
    if not segments and not decoder.complete:
        raise UpstreamError("The model gave no transcript of the recording.")
    logger.info(
        "%s transcribed %d segments in %.2f s", request_id, len(segments), monotonic() - started
    )
    yield Transcript(tuple(segments), recording.duration, usage, options.spoken_language)


async def _last(results: AsyncGenerator[Segment | Transcript]) -> Transcript:
    async with aclosing(results):
        async for result in results:
            if isinstance(result, Transcript):
                return result
    raise RuntimeError("a transcription ended without its transcript")


async def _transcode(source: BinaryIO, target: BinaryIO, resources: Resources) -> Recording:
    settings = resources.settings
    return await to_thread.run_sync(
        partial(
            transcode,
            source,
            target,
            encoding=settings.upstream_audio_format,
            max_seconds=settings.max_audio_seconds,
            timeout=settings.decode_timeout,
            check_cancelled=from_thread.check_cancelled,
        ),
        limiter=resources.decoders,
    )
