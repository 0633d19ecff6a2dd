"""/v1/audio/voices and /v1/audio/models: list voices and models; store and delete voices for
cloning.

Listings support both response formats in use; stored voices follow openai 3.52's
`VoiceCreateParams` and `Voice`.
"""

from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request

from vibevoice_proxy.errors import Forbidden, InvalidRequest, VoiceNotFound
from vibevoice_proxy.speech.service import NO_CLONING, SpeechService, speech_of
from vibevoice_proxy.speech.voice_samples import MAX_BYTES, warning_of
from vibevoice_proxy.speech.voice_store import MAX_CONSENT, MAX_NAME, StoredVoice, VoiceStore
from vibevoice_proxy.upload import receive_form, text_field, uploaded_file

BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["name", "audio_sample"],
                    "properties": {
                        "name": {"type": "string", "maxLength": MAX_NAME},
                        "audio_sample": {
                            "type": "string",
                            "format": "binary",
                            "description": "6 to 30 s of one speaker; `file` is an alias.",
                        },
                        "consent": {
                            "type": "string",
                            "maxLength": MAX_CONSENT,
                            "description": "Reference to the speaker's consent; stored.",
                        },
                        "type": {"type": "string", "enum": ["audio_sample"]},
                    },
                }
            }
        },
    }
}

router = APIRouter()


@router.get("/v1/audio/voices")
@router.get("/audio/voices", include_in_schema=False)
async def list_voices(request: Request, model: str = "") -> dict[str, Any]:
    """List the voices of the models that `model` selects, or of all models. Each voice occurs once,
    with the models that have it. Stored voices come last."""
    service = speech_of(request)
    chosen = service.candidates(model) if model else service.models
    models: dict[str, list[str]] = {}
    for synthesizer in chosen:
        for voice in synthesizer.info.voices if synthesizer.info else ():
            models.setdefault(voice, []).append(synthesizer.name)
    listed = [
        {"id": voice, "name": voice, "object": "voice", "models": names}
        for voice, names in models.items()
    ]
    cloning = [one.name for one in chosen if one.clones]
    if service.samples.store is not None and cloning:
        stored = await to_thread.run_sync(service.samples.store.voices)
        listed += [{**_describe(voice), "models": cloning} for voice in stored]
    return _listing("voices", listed)


@router.get("/v1/audio/models")
@router.get("/audio/models", include_in_schema=False)
async def list_speech_models(request: Request) -> dict[str, Any]:
    """List the speech models, and their aliases with the model that each one selects. Each has
    `voice_cloning` (whether it accepts `ref_audio`) and `voice_uploads` (whether clients can store
    voices for it)."""
    service = speech_of(request)
    has_store = service.samples.store is not None
    listed: list[dict[str, Any]] = []
    for name in service.model_names:
        model = service.find(name)
        listed.append(
            {
                "id": name,
                "name": name,
                "object": "model",
                "root": model.name,
                "voice_cloning": model.clones,
                "voice_uploads": model.clones and has_store,
            }
        )
    return _listing("models", listed)


@router.post("/v1/audio/voices", openapi_extra=BODY)
@router.post("/audio/voices", include_in_schema=False)
async def create_voice(request: Request) -> dict[str, Any]:
    """Store a recording of a voice for cloning."""
    service = speech_of(request)
    store = _store(service)
    service.check_cloning()
    settings = service.settings
    received = receive_form(
        request,
        min(settings.max_upload_bytes, MAX_BYTES),
        timeout=settings.upload_timeout,
        spool_dir=settings.spool_dir or None,
    )
    async with received as form:
        name = text_field(form, "name", MAX_NAME)
        if not name:
            raise InvalidRequest("The field name is missing.", param="name")
        if service.has_voice(name):
            raise InvalidRequest(f"A voice with the name {name!r} already exists.", param="name")
        consent = text_field(form, "consent", MAX_CONSENT)
        if form.get("type", "audio_sample") != "audio_sample":
            raise InvalidRequest(
                "Voices can only be created from recordings; expected type audio_sample.",
                param="type",
            )
        upload = uploaded_file(form, "audio_sample", "file")
        samples = await service.samples.decode(upload.file, "audio_sample")
    voice = await to_thread.run_sync(store.add, name, samples, consent)
    warning = warning_of(samples)
    return _describe(voice) | ({"warning": warning} if warning else {})


@router.delete("/v1/audio/voices/{voice_id}")
@router.delete("/audio/voices/{voice_id}", include_in_schema=False)
async def delete_voice(voice_id: str, request: Request) -> dict[str, Any]:
    """Delete a stored voice."""
    store = _store(speech_of(request))
    if not await to_thread.run_sync(store.remove, voice_id):
        raise VoiceNotFound("There is no stored voice with this id.", param="voice_id")
    return {"id": voice_id, "deleted": True, "object": "audio.voice.deleted"}


def _describe(voice: StoredVoice) -> dict[str, Any]:
    """A stored voice in the form of OpenAI's API, plus the seconds of speech in its recording."""
    return {
        "id": voice.id,
        "created_at": voice.created,
        "name": voice.name,
        "object": "audio.voice",
        "type": "audio_sample",
        "seconds": round(voice.seconds, 2),
    }


def _listing(key: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": items, key: items}


def _store(service: SpeechService) -> VoiceStore:
    if service.samples.store is None:
        alternative = "Send the recording with each speech request instead, as ref_audio."
        clones = any(model.clones for model in service.models)
        raise Forbidden(
            "Storing voices is disabled on this server (VIBEVOICE_VOICE_UPLOADS). "
            + (alternative if clones else NO_CLONING),
            code="voice_uploads_off",
        )
    return service.samples.store
