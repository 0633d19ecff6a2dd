"""POST /v1/audio/translations: a recording in, an English transcript out.

VibeVoice-ASR transcribes only; a chat model of the operator's choice translates what was said.
"""

from collections.abc import AsyncGenerator
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from vibevoice_proxy.disconnect import until_disconnect
from vibevoice_proxy.errors import InvalidRequest, UpstreamError
from vibevoice_proxy.options import TranslationOptions, body_schema
from vibevoice_proxy.resources import Resources, resources_of
from vibevoice_proxy.transcript import Segment, Transcript
from vibevoice_proxy.transcriptions import last, receive_recording, respond, transcribe
from vibevoice_proxy.translator import Translator
from vibevoice_proxy.upload import uploaded_file

router = APIRouter()


@router.post(
    "/v1/audio/translations",
    response_class=Response,
    openapi_extra=body_schema(TranslationOptions),
)
@router.post("/audio/translations", include_in_schema=False)
async def create_translation(request: Request) -> Response:
    """Transcribe a recording and translate what was said into English."""
    resources = resources_of(request)
    if resources.translator is None:
        raise InvalidRequest(
            "This server transcribes but does not translate: no translating model is configured. "
            "Use /v1/audio/transcriptions.",
            code="unsupported",
        )
    async with receive_recording(request) as form:
        options = TranslationOptions.from_form(form, resources.settings)
        results = transcribe(uploaded_file(form), options, request)
        work = partial(_translate, results, resources.translator, resources)
        return respond(await until_disconnect(request, work), options.response_format)


async def _translate(
    results: AsyncGenerator[Segment | Transcript], translator: Translator, resources: Resources
) -> Transcript:
    transcript = await last(results)
    try:
        return await translator.translate(transcript)
    except UpstreamError as error:
        resources.metrics.upstream_error("translate", error.code)
        raise
