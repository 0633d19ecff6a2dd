"""GET / and /v1/models: what this server is and what it serves."""

from typing import Any

from fastapi import APIRouter, Request, Response

from vibevoice_core.distribution import installed_version
from vibevoice_proxy.errors import ModelNotFound
from vibevoice_proxy.service import services_of

router = APIRouter()


@router.get("/")
async def describe_service(request: Request, response: Response) -> dict[str, Any]:
    """Name, version and routes; browsers get the page instead."""
    response.headers["vary"] = "accept"
    schema = request.app.openapi()
    routes = [
        f"{method.upper()} {path}" for path, item in schema["paths"].items() for method in item
    ]
    return {
        "name": "vibevoice",
        "version": installed_version(),
        "endpoints": [*routes, "GET /docs"],
    }


@router.get("/v1/models")
@router.get("/models", include_in_schema=False)
async def list_models(request: Request) -> dict[str, Any]:
    """The served models and their aliases."""
    return {"object": "list", "data": [_model(name, request) for name in _names(request)]}


@router.get("/v1/models/{name:path}")
@router.get("/models/{name:path}", include_in_schema=False)
async def retrieve_model(name: str, request: Request) -> dict[str, Any]:
    """One model."""
    if name not in _names(request):
        raise ModelNotFound(
            f"The model {name!r} does not exist. GET /v1/models lists the names.", param="model"
        )
    return _model(name, request)


def _names(request: Request) -> list[str]:
    services = services_of(request)
    return list(dict.fromkeys(name for service in services for name in service.model_names))


def _model(name: str, request: Request) -> dict[str, Any]:
    created: int = request.state.started
    return {"id": name, "object": "model", "created": created, "owned_by": "vibevoice"}
