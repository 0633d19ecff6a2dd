"""/v1/audio/speakers: enroll speakers, so that transcripts can name them."""

from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request

from vibevoice_proxy.errors import Forbidden, InvalidRequest, SpeakerNotFound
from vibevoice_proxy.transcription.known_speakers import EVERYBODY
from vibevoice_proxy.transcription.references import MAX_NAME, VoiceReader, check_names
from vibevoice_proxy.transcription.service import TranscriptionService, transcription_of
from vibevoice_proxy.transcription.speaker_store import (
    MAX_CONSENT,
    EnrolledSpeaker,
    SpeakerStore,
)
from vibevoice_proxy.upload import receive_form, text_field, uploaded_file

MAX_BYTES = 10 * 1024 * 1024
"""Maximum file size of a sample, as for voices."""
MAX_SAMPLE_SECONDS = 60.0
"""Maximum length of a sample in seconds."""
SAMPLE = "audio_sample"
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["name", "consent", SAMPLE],
                    "properties": {
                        "name": {"type": "string", "maxLength": MAX_NAME},
                        "consent": {
                            "type": "string",
                            "maxLength": MAX_CONSENT,
                            "description": "Reference to the speaker's consent; stored.",
                        },
                        SAMPLE: {
                            "type": "string",
                            "format": "binary",
                            "description": "2 to 60 s of one speaker; `file` is an alias.",
                        },
                    },
                }
            }
        },
    }
}

router = APIRouter()


@router.get("/v1/audio/speakers")
@router.get("/audio/speakers", include_in_schema=False)
async def list_speakers(request: Request) -> dict[str, Any]:
    """List the enrolled speakers, oldest first."""
    store, _ = _store(transcription_of(request))
    speakers = await to_thread.run_sync(store.speakers)
    return {"object": "list", "data": [_describe(speaker) for speaker in speakers]}


@router.post("/v1/audio/speakers", openapi_extra=BODY)
@router.post("/audio/speakers", include_in_schema=False)
async def create_speaker(request: Request) -> dict[str, Any]:
    """Enroll a speaker with a recording of their voice. The recording is not stored."""
    service = transcription_of(request)
    store, reader = _store(service)
    settings = service.settings
    received = receive_form(
        request,
        min(settings.max_upload_bytes, MAX_BYTES),
        timeout=settings.upload_timeout,
        spool_dir=settings.spool_dir or None,
    )
    async with received as form:
        [name] = check_names([text_field(form, "name", MAX_NAME)], "name")
        if name == EVERYBODY:
            raise InvalidRequest(
                f"The name {EVERYBODY} is reserved: it selects all enrolled speakers.", param="name"
            )
        consent = text_field(form, "consent", MAX_CONSENT)
        if not consent:
            raise InvalidRequest(
                "The field consent is empty; expected a reference to the speaker's consent.",
                param="consent",
            )
        upload = uploaded_file(form, SAMPLE, "file")
        data = await to_thread.run_sync(upload.file.read)
        voice = await reader.read(data, "sample", SAMPLE, most=MAX_SAMPLE_SECONDS)
    return _describe(await to_thread.run_sync(store.add, name, voice, consent))


@router.delete("/v1/audio/speakers/{speaker_id}")
@router.delete("/audio/speakers/{speaker_id}", include_in_schema=False)
async def delete_speaker(speaker_id: str, request: Request) -> dict[str, Any]:
    """Remove an enrolled speaker and the data of their voice."""
    store, _ = _store(transcription_of(request))
    if not await to_thread.run_sync(store.remove, speaker_id):
        raise SpeakerNotFound("There is no enrolled speaker with this id.", param="speaker_id")
    return {"id": speaker_id, "deleted": True, "object": "audio.speaker.deleted"}


def _describe(speaker: EnrolledSpeaker) -> dict[str, Any]:
    """The response for a speaker."""
    return {
        "id": speaker.id,
        "created_at": speaker.created,
        "name": speaker.name,
        "object": "audio.speaker",
        "consent": speaker.consent,
        "seconds": round(speaker.voice.seconds, 2),
    }


def _store(service: TranscriptionService) -> tuple[SpeakerStore, VoiceReader]:
    known = service.known_speakers
    if known.store is None or known.reader is None:
        raise Forbidden(
            "Speaker enrollment is disabled on this server "
            "(VIBEVOICE_SPEAKER_ENROLLMENT). Send references with the request "
            "instead, as known_speaker_references.",
            code="speaker_enrollment_off",
        )
    return known.store, known.reader
