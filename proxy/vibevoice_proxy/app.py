"""The application: routes, error answers, and what lives as long as the process."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from vibevoice_proxy import (
    speech,
    speech_listings,
    status,
    stored_voices,
    transcriptions,
    translations,
)
from vibevoice_proxy.access import ApiKeys, read_api_keys
from vibevoice_proxy.errors import InvalidRequest, ProxyError, error_body
from vibevoice_proxy.metrics import CountRequests, Metrics
from vibevoice_proxy.request_id import RequestId
from vibevoice_proxy.resources import Resources, open_resources
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.transcriptions import TRUNCATED

logger = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that hung up; nobody receives it."""


def create_app(settings: Settings) -> FastAPI:
    """The proxy as an ASGI application.

    Raises OSError or ValueError when the file of API keys cannot be read or holds none.
    """

    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Resources]]:
        async with open_resources(settings, metrics) as resources:
            yield {"resources": resources}

    app = FastAPI(title="VibeVoice", description="The OpenAI audio API.", lifespan=lifespan)
    app.include_router(status.router)
    app.include_router(transcriptions.router)
    app.include_router(translations.router)
    app.include_router(speech.router)
    app.include_router(speech_listings.router)
    app.include_router(stored_voices.router)
    # The one added last is the first to see a request.
    if keys := read_api_keys(settings):
        app.add_middleware(ApiKeys, keys=keys, open_listings=settings.open_listings)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after", TRUNCATED, *speech.HEADERS],
        )
    app.add_middleware(CountRequests, metrics=metrics)
    app.add_middleware(RequestId)
    app.add_exception_handler(ProxyError, _proxy_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(ClientDisconnect, _client_disconnect)
    return app


def _proxy_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProxyError)
    body = error_body(str(error), type=error.type, param=error.param, code=error.code)
    return JSONResponse(body, error.status, dict(error.headers))


def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    param = str(first["loc"][-1])
    return _proxy_error(
        request, InvalidRequest(f"Invalid value for {param}: {first['msg']}.", param=param)
    )


def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    messages = {
        404: f"Unknown path {request.url.path}; GET / lists what there is.",
        405: f"{request.method} is not allowed for {request.url.path}.",
    }
    message = messages.get(error.status_code, error.detail)
    kind = "server_error" if error.status_code >= 500 else "invalid_request_error"
    return JSONResponse(error_body(message, type=kind), error.status_code, error.headers)


def _client_disconnect(request: Request, _: Exception) -> Response:
    logger.info("%s: the client hung up", request.state.request_id)
    return Response(status_code=CLIENT_CLOSED_REQUEST)
