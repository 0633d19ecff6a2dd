"""Builds the application: services, routes and error responses."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import time
from typing import TypedDict

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, ProcessCollector
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from vibevoice_core import headers
from vibevoice_proxy import health, listings, metrics
from vibevoice_proxy.access import ApiKeys, read_api_keys
from vibevoice_proxy.client_secrets import ClientSecrets
from vibevoice_proxy.decoder import AudioDecoder
from vibevoice_proxy.edge import RequestId
from vibevoice_proxy.errors import InvalidRequest, ProxyError, error_body
from vibevoice_proxy.normalize import NormalizeRequest
from vibevoice_proxy.origins import CheckOrigin
from vibevoice_proxy.page.middleware import ServePage
from vibevoice_proxy.realtime import routes as realtime_routes
from vibevoice_proxy.realtime.service import RealtimeService
from vibevoice_proxy.service import Service
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.speech import routes as speech_routes
from vibevoice_proxy.speech import voice_routes
from vibevoice_proxy.speech.delivery import HEADERS as SPEECH_HEADERS
from vibevoice_proxy.speech.live_voice import LiveVoice
from vibevoice_proxy.speech.service import SpeechService, open_speech
from vibevoice_proxy.transcription import routes as transcription_routes
from vibevoice_proxy.transcription import speaker_routes
from vibevoice_proxy.transcription.composition import open_transcription
from vibevoice_proxy.transcription.live_recognition import LiveTranscription
from vibevoice_proxy.transcription.service import TranscriptionService

logger = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that disconnected; only used in logs and metrics."""


class State(TypedDict):
    """The contents of `request.state`, created when the process starts."""

    transcription: TranscriptionService
    speech: SpeechService
    realtime: RealtimeService
    services: tuple[Service, ...]
    registry: CollectorRegistry
    started: int
    """Unix time in seconds."""


def create_app(settings: Settings) -> FastAPI:
    """Create the proxy as an ASGI application. Raises OSError or ValueError if the file with API
    keys cannot be read or contains no key.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    keys = read_api_keys(settings)
    secrets = ClientSecrets(keys)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        decoder = AudioDecoder(settings.decode_concurrency, settings.decode_timeout)
        async with (
            open_transcription(settings, decoder, registry) as transcription,
            open_speech(settings, decoder, registry) as speech,
        ):
            realtime = RealtimeService(
                settings,
                LiveTranscription(transcription),
                LiveVoice(speech),
                secrets,
                registry,
            )
            yield {
                "transcription": transcription,
                "speech": speech,
                "realtime": realtime,
                "services": (transcription, speech),
                "registry": registry,
                "started": int(time()),
            }

    app = FastAPI(
        title="VibeVoice",
        description="The OpenAI audio API.",
        lifespan=lifespan,
        redirect_slashes=False,  # NormalizeRequest handles such paths without a redirect
    )
    app.include_router(listings.router)
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(transcription_routes.router)
    app.include_router(speaker_routes.router)
    app.include_router(speech_routes.router)
    app.include_router(voice_routes.router)
    app.include_router(realtime_routes.router)
    # The middleware added last processes a request first.
    app.add_middleware(ApiKeys, keys=keys, open_listings=settings.open_listings, secrets=secrets)
    if not keys and "*" not in settings.cors_origins:
        app.add_middleware(CheckOrigin, origins=settings.cors_origins, api_host=settings.api_host)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=[
                *("x-request-id", "retry-after"),
                *(headers.MODEL, headers.TRUNCATED, headers.MISSING),
                *SPEECH_HEADERS,
            ],
        )
    app.add_middleware(ServePage)
    app.add_middleware(NormalizeRequest)
    app.add_middleware(metrics.CountRequests, registry=registry)
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
        404: f"Unknown path {request.url.path}; GET / lists the endpoints.",
        405: f"{request.method} is not allowed for {request.url.path}.",
    }
    message = messages.get(error.status_code, error.detail)
    kind = "server_error" if error.status_code >= 500 else "invalid_request_error"
    return JSONResponse(error_body(message, type=kind), error.status_code, error.headers)


def _client_disconnect(request: Request, _: Exception) -> Response:
    logger.info("%s: the client disconnected", request.state.request_id)
    return Response(status_code=CLIENT_CLOSED_REQUEST)
