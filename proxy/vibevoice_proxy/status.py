"""What the service is, what it serves, and whether it can."""

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from vibevoice_proxy.errors import RETRY_AFTER_SECONDS, ModelNotFound, UpstreamError
from vibevoice_proxy.resources import Resources, resources_of

router = APIRouter()


@router.get("/")
async def describe_service(request: Request) -> dict[str, Any]:
    """Name, version and routes."""
    schema = request.app.openapi()
    routes = [
        f"{method.upper()} {path}" for path, item in schema["paths"].items() for method in item
    ]
    return {
        "name": "vibevoice",
        "version": version("vibevoice-serving"),
        "endpoints": [*routes, "GET /docs"],
    }


@router.get("/health/live")
async def check_liveness() -> dict[str, str]:
    """Whether this process answers."""
    return {"status": "ok"}


@router.get("/health")
async def check_health(request: Request) -> JSONResponse:
    """200 when requests can be served, 503 with the state of each part while not."""
    resources = resources_of(request)
    parts = {"proxy": "ok"}
    if resources.transcriber:
        parts["asr"] = "ok"
        try:
            await resources.transcriber.check_health()
        except UpstreamError as error:
            parts["asr"] = str(error)
    for synthesizer in resources.synthesizers.models:
        worker = synthesizer.worker
        parts[worker.model.name] = "ok" if worker.ready else worker.unready_message
    if all(state == "ok" for state in parts.values()):
        return JSONResponse({"status": "ok", "parts": parts})
    return JSONResponse(
        {"status": "unavailable", "parts": parts}, 503, {"retry-after": str(RETRY_AFTER_SECONDS)}
    )


@router.get("/metrics", response_class=Response)
async def list_metrics(request: Request) -> Response:
    """What the process counts, in Prometheus' text format."""
    body = generate_latest(resources_of(request).metrics.registry)
    return Response(body, headers={"content-type": CONTENT_TYPE_LATEST})


@router.get("/v1/models")
@router.get("/models", include_in_schema=False)
async def list_models(request: Request) -> dict[str, Any]:
    """The served models and their aliases."""
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
    recognized = [settings.served_model_name, *settings.model_aliases]
    names = recognized if resources.transcriber else []
    return list(dict.fromkeys([*names, *resources.synthesizers.names]))


def _model(name: str, resources: Resources) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": resources.started, "owned_by": "vibevoice"}
