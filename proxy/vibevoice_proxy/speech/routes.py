"""POST /v1/audio/speech: converts text to speech and streams it."""

from contextlib import nullcontext
from time import monotonic

from anyio import to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from vibevoice_proxy.speech.delivery import Delivery
from vibevoice_proxy.speech.errors import speech_errors
from vibevoice_proxy.speech.formats import ENCODINGS
from vibevoice_proxy.speech.options import REF_AUDIO, SpeechOptions, body_schema, is_large
from vibevoice_proxy.speech.service import speech_of
from vibevoice_proxy.speech.voice_samples import warning_of
from vibevoice_proxy.streaming import EVENTS, StreamedAnswer
from vibevoice_tts import Script

router = APIRouter()


@router.post("/v1/audio/speech", response_class=Response, openapi_extra=body_schema())
@router.post("/audio/speech", include_in_schema=False)
async def create_speech(request: Request) -> Response:
    """Speak a text in one voice, or a script in several voices."""
    started = monotonic()
    service = speech_of(request)
    settings = service.settings
    # The recording in a large body is decoded and dropped before its slot is released.
    slot = service.large_requests.place() if is_large(request) else nullcontext()
    async with slot:
        options = await SpeechOptions.from_request(
            request, settings.tts_max_input_chars, settings.upload_timeout
        )
        synthesizer = service.find(options.model)
        with service.metrics.errors(synthesizer.name), speech_errors():
            if options.ref_audio:  # do not decode it if the request would be rejected
                synthesizer.check_queue()
            samples = await service.samples.collect(options, synthesizer)
        script = Script(
            text=options.input,
            voice=options.voice_name,
            speakers=options.speakers,
            cfg_scale=options.cfg_scale,
            steps=options.steps,
            seed=options.seed,
            samples=samples,
        )
        options = options.model_copy(update={"ref_audio": ""})
    with service.metrics.errors(synthesizer.name), speech_errors():
        synthesizer, plan = await to_thread.run_sync(service.plan, options.model, script)
    delivery = Delivery(
        synthesizer,
        script,
        plan,
        metrics=service.metrics,
        encoders=service.encoders,
        started=started,
        warning=warning_of(samples[REF_AUDIO]) if REF_AUDIO in samples else "",
    )
    if options.stream_format == "sse":
        chunks, media_type = delivery.events(options.response_format, options.speed), EVENTS
    else:
        chunks = delivery.audio(options.response_format, options.speed)
        media_type = ENCODINGS[options.response_format].media_type
    return StreamedAnswer(
        chunks, media_type, send_timeout=settings.tts_send_timeout, more_headers=delivery.headers
    )
