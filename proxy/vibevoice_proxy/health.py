"""GET /health and /health/live: readiness and liveness checks."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from vibevoice_proxy.errors import RETRY_AFTER_SECONDS
from vibevoice_proxy.service import services_of

router = APIRouter()


@router.get("/health/live")
async def check_liveness() -> dict[str, str]:
    """Report that this process responds."""
    return {"status": "ok"}


@router.get("/health")
async def check_health(request: Request) -> JSONResponse:
    """200 if every component is ready, otherwise 503; the body has the state of each."""
    parts = {"proxy": "ok"}
    for service in services_of(request):
        parts |= await service.check_health()
    if all(state == "ok" for state in parts.values()):
        return JSONResponse({"status": "ok", "parts": parts})
    return JSONResponse(
        {"status": "unavailable", "parts": parts}, 503, {"retry-after": str(RETRY_AFTER_SECONDS)}
    )
