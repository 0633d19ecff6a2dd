"""GET /v1/audio/voices and /v1/audio/models: what can speak, in both shapes in use."""

from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request

from vibevoice_proxy.resources import resources_of
from vibevoice_proxy.stored_voices import describe_voice

router = APIRouter()


@router.get("/v1/audio/voices")
@router.get("/audio/voices", include_in_schema=False)
async def list_voices(request: Request, model: str = "") -> dict[str, Any]:
    """The voices of `model`, or of all models; each once, with the models that have it. Stored
    voices come last."""
    resources = resources_of(request)
    synthesizers = resources.synthesizers
    chosen = [synthesizers.find(model)] if model else synthesizers.models
    models: dict[str, list[str]] = {}
    for synthesizer in chosen:
        if (info := synthesizer.worker.info) is not None:
            for voice in info.voices:
                models.setdefault(voice, []).append(info.name)
    listed = [
        {"id": voice, "name": voice, "object": "voice", "models": names}
        for voice, names in models.items()
    ]
    cloning = [one.worker.model.name for one in chosen if one.worker.model.clones]
    if resources.voices is not None and cloning:
        stored = await to_thread.run_sync(resources.voices.voices)
        listed += [{**describe_voice(voice), "models": cloning} for voice in stored]
    return _listing("voices", listed)


@router.get("/v1/audio/models")
@router.get("/audio/models", include_in_schema=False)
async def list_speech_models(request: Request) -> dict[str, Any]:
    """The models that speak, and their other names."""
    names = resources_of(request).synthesizers.names
    return _listing("models", [{"id": name, "name": name, "object": "model"} for name in names])


def _listing(key: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": items, key: items}
