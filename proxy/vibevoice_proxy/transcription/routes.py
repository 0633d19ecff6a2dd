"""POST /v1/audio/transcriptions and /v1/audio/translations."""

from contextlib import AsyncExitStack
from functools import partial
from string import printable
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from vibevoice_core import headers
from vibevoice_proxy.disconnect import until_disconnect
from vibevoice_proxy.transcription.events import stream_events
from vibevoice_proxy.transcription.formats import render, truncation_headers
from vibevoice_proxy.transcription.options import (
    TranscriptionOptions,
    TranslationOptions,
    body_schema,
)
from vibevoice_proxy.transcription.service import TranscriptionService, final, transcription_of
from vibevoice_proxy.transcription.transcript import Transcript
from vibevoice_proxy.upload import uploaded_file

router = APIRouter()


@router.post(
    "/v1/audio/transcriptions",
    response_class=Response,
    openapi_extra=body_schema(TranscriptionOptions),
)
@router.post("/audio/transcriptions", include_in_schema=False)
async def create_transcription(request: Request) -> Response:
    """Transcribe a recording, with speaker labels and timestamps."""
    service = transcription_of(request)
    async with AsyncExitStack() as cleanup:
        form = await cleanup.enter_async_context(service.receive(request))
        options = TranscriptionOptions.from_form(form, service.settings)
        about = _about(service.check(options).name)
        results = service.transcribe(uploaded_file(form), options, request.state.request_id)
        if options.stream:
            interval = service.settings.ping_interval
            return stream_events(
                results,
                options.response_format,
                cleanup.pop_all(),
                interval,
                with_logprobs=options.with_logprobs,
                more_headers=lambda: about,
            )
        transcript = await until_disconnect(request, partial(final, results))
        return _respond(transcript, options, service, about)


@router.post(
    "/v1/audio/translations",
    response_class=Response,
    openapi_extra=body_schema(TranslationOptions),
)
@router.post("/audio/translations", include_in_schema=False)
async def create_translation(request: Request) -> Response:
    """Transcribe a recording and translate the transcript into English."""
    service = transcription_of(request)
    service.check_translation()
    async with service.receive(request) as form:
        options = TranslationOptions.from_form(form, service.settings)
        about = _about(service.check(options).name)
        work = partial(service.translate, uploaded_file(form), options, request.state.request_id)
        return _respond(await until_disconnect(request, work), options, service, about)


def _about(model: str) -> dict[str, str]:
    """The header with the model's name. Headers are ASCII; other characters are percent-encoded."""
    return {headers.MODEL: quote(model, safe=printable.strip() + " ")}


def _respond(
    transcript: Transcript,
    options: TranscriptionOptions | TranslationOptions,
    service: TranscriptionService,
    about: dict[str, str],
) -> Response:
    """The complete `transcript` as a response, with the headers in `about`."""
    limits = options.subtitle_limits(service.settings)
    rendering = render(
        transcript, options.response_format, limits, with_logprobs=options.with_logprobs
    )
    return Response(
        rendering.body,
        headers={**about, **truncation_headers(transcript)},
        media_type=rendering.media_type,
    )
