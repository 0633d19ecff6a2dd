"""WS /v1/realtime and POST /v1/realtime/client_secrets."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, WebSocket
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse

from vibevoice_proxy.errors import InvalidRequest, ProxyError, error_body
from vibevoice_proxy.logs import REQUEST_ID
from vibevoice_proxy.realtime.client_events import invalid_field
from vibevoice_proxy.realtime.outbox import new_id
from vibevoice_proxy.realtime.service import realtime_of
from vibevoice_proxy.upload import receive_body

PROTOCOL = "realtime"
"""The WebSocket subprotocol of OpenAI's API."""
MAX_SECRET_BYTES = 64 * 1024
"""Maximum body size of a request for a client secret."""

router = APIRouter()


class ExpiresAfter(BaseModel):
    """How long a client secret is valid."""

    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Field(ge=10, le=7200)] = 600


class SecretRequest(BaseModel):
    """The body of POST /v1/realtime/client_secrets."""

    model_config = ConfigDict(extra="forbid")

    expires_after: ExpiresAfter = ExpiresAfter()
    session: dict[str, Any] | None = None


@router.post(
    "/v1/realtime/client_secrets",
    openapi_extra={
        "requestBody": {
            "content": {"application/json": {"schema": SecretRequest.model_json_schema()}}
        }
    },
)
@router.post("/realtime/client_secrets", include_in_schema=False)
async def create_client_secret(request: Request) -> JSONResponse:
    """Create a short-lived key for a browser, and return the session that it opens."""
    service = realtime_of(request)
    body = await receive_body(request, MAX_SECRET_BYTES, timeout=service.settings.upload_timeout)
    try:
        wanted = SecretRequest.model_validate_json(body or b"{}")
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise invalid_field(first["loc"], first["type"], first["msg"], event_id=None) from None
    config = await service.configure(wanted.session)
    return JSONResponse(service.issue_secret(config, wanted.expires_after.seconds))


@router.websocket("/v1/realtime")
@router.websocket("/realtime")
async def hold_session(socket: WebSocket) -> None:
    """Serve a realtime session."""
    service = realtime_of(socket)
    session_id = new_id("sess")
    token = REQUEST_ID.set(session_id)
    try:
        try:
            config = await service.configure(_wanted(socket))
            with service.place():
                offered: list[str] = socket.scope["subprotocols"]
                await socket.accept(PROTOCOL if PROTOCOL in offered else None)
                await service.serve(socket, config, session_id)
        except ProxyError as error:  # before the connection is accepted
            body = error_body(str(error), type=error.type, param=error.param, code=error.code)
            answer = JSONResponse(body, error.status, dict(error.headers))
            await socket.send_denial_response(answer)
    finally:
        REQUEST_ID.reset(token)


def _wanted(socket: WebSocket) -> Mapping[str, Any]:
    """The session configuration from the client secret or the query."""
    if secret := socket.scope["state"].get("client_secret"):
        return secret
    query = socket.query_params
    model, intent = query.get("model"), query.get("intent")
    if intent == "transcription":
        heard = {"transcription": {"model": model}} if model else {}
        return {"type": "transcription", "audio": {"input": heard}}
    if intent:
        raise InvalidRequest(
            f"The intent {intent[:80]!r} is unknown; expected 'transcription', or "
            "no intent for a voice call.",
            param="intent",
            code="unsupported",
        )
    return {"type": "realtime", "model": model}
