"""What the service is, what it serves, and whether it can."""

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from vibevoice_proxy.errors import RETRY_AFTER_SECONDS, ModelNotFound, UpstreamError
from vibevoice_proxy.resources import Resources, resources_of

router = APIRouter()


@router.get("/")
async def describe_service() -> dict[str, Any]:
    """Name, version and routes."""
    return {
        "name": "vibevoice",
        "version": version("vibevoice-serving"),
        "endpoints": [
            "POST /v1/audio/transcriptions",
            "GET /v1/models",
            "GET /health",
            "GET /health/live",
            "GET /docs",
        ],
    }


@router.get("/health/live")
async def check_liveness() -> dict[str, str]:
    """Whether this process answers."""
    return {"status": "ok"}


@router.get("/health")
async def check_health(request: Request) -> JSONResponse:
    """200 when requests can be served, 503 with the state of each part while not."""
    try:
        await resources_of(request).upstream.check_health()
    except UpstreamError as error:
        return JSONResponse(
            {"status": "unavailable", "parts": {"proxy": "ok", "asr": str(error)}},
            503,
            {"retry-after": str(RETRY_AFTER_SECONDS)},
        )
    return JSONResponse({"status": "ok", "parts": {"proxy": "ok", "asr": "ok"}})


@router.get("/v1/models")
@router.get("/models", include_in_schema=False)
async def list_models(request: Request) -> dict[str, Any]:
    """The served model and its aliases."""
    resources = resources_of(request)
    return {"object": "list", "data": [_model(name, resources) for name in _names(resources)]}


@router.get("/v1/models/{name:path}")
@router.get("/models/{name:path}", include_in_schema=False)
async def retrieve_model(name: str, request: Request) -> dict[str, Any]:
    """One model."""
    resources = resources_of(request)
    if name not in _names(resources):
        raise ModelNotFound(f"The model {name!r} does not exist.", param="model")
    return _model(name, resources)


def _names(resources: Resources) -> list[str]:
    settings = resources.settings
    return list(dict.fromkeys([settings.served_model_name, *settings.model_aliases]))


def _model(name: str, resources: Resources) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": resources.started, "owned_by": "vibevoice"}
