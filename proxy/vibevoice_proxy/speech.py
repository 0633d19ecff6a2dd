"""POST /v1/audio/speech: a text in, speech out as it is made."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from math import ceil
from time import monotonic
from typing import Any

import numpy as np
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vibevoice_proxy.disconnect import until_disconnect
from vibevoice_proxy.encoder import ENCODINGS, Encoder
from vibevoice_proxy.errors import ProxyError, error_body
from vibevoice_proxy.resources import resources_of
from vibevoice_proxy.speech_options import SpeechOptions, body_schema
from vibevoice_proxy.synthesizers import speech_errors
from vibevoice_tts.script import Piece, words_in
from vibevoice_tts.synthesizer import Script, Synthesizer

ENCODE_SECONDS = 1.0
"""Most audio that is encoded in one go, so that a long chunk neither waits nor blocks."""
FRAMES_PER_SECOND = 7.5
"""Speech tokens of the VibeVoice models for a second of audio."""

router = APIRouter()
logger = logging.getLogger(__name__)


@dataclass
class Spoken:
    """How much has been spoken so far."""

    words: int
    seconds: float = 0.0
    """Of audio as the model made it, before a change of speed."""

    def usage(self) -> dict[str, int]:
        """OpenAI's usage: words in, speech frames out."""
        frames = ceil(self.seconds * FRAMES_PER_SECOND)
        return {
            "input_tokens": self.words,
            "output_tokens": frames,
            "total_tokens": self.words + frames,
        }


@router.post("/v1/audio/speech", response_class=Response, openapi_extra=body_schema())
@router.post("/audio/speech", include_in_schema=False)
async def create_speech(request: Request) -> Response:
    """Speak a text, in one voice or as a script in several."""
    resources = resources_of(request)
    settings = resources.settings
    options = await SpeechOptions.from_request(request, settings.tts_max_input_chars)
    synthesizer = resources.synthesizers.find(options.model)
    script = Script(
        options.input,
        options.voice_name,
        options.speakers,
        options.cfg_scale,
        options.steps,
        options.seed,
    )
    with speech_errors():
        pieces = await to_thread.run_sync(synthesizer.plan, script)
    spoken = Spoken(sum(words_in(piece) for piece in pieces))
    audio = _encoded(synthesizer, script, pieces, options, spoken, resources.synthesizers.encoders)
    if options.stream_format == "sse":
        return SpeechStream(_events(audio, spoken), "text/event-stream", settings.tts_send_timeout)
    media_type = ENCODINGS[options.response_format].media_type
    return SpeechStream(audio, media_type, settings.tts_send_timeout)


class SpeechStream(Response):
    """Sends `chunks` as they come; the answer begins with the first.

    Until then a failure has a status of its own. After that events tell of it, while plain audio
    cannot: its connection is cut. `chunks` is closed at the end, when the client hangs up, and when
    it takes nothing for `send_timeout` seconds.
    """

    def __init__(self, chunks: AsyncGenerator[bytes], media_type: str, send_timeout: float) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.headers["content-type"] = media_type
        self._chunks = chunks
        self._is_events = media_type == "text/event-stream"
        self._send_timeout = send_timeout
        self._has_begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._chunks):
            try:
                await until_disconnect(Request(scope, receive), partial(self._send_chunks, send))
            except ClientDisconnect:
                if not self._has_begun:
                    raise
                logger.info("the client hung up in the middle of the speech")

    async def _send_chunks(self, send: Send) -> None:
        try:
            async for chunk in self._chunks:
                await self._send(send, chunk)
        except ProxyError as error:
            if not self._has_begun:
                raise
            logger.warning("speech ended by an error: %s", error)
            if not self._is_events:
                return  # without an end of the body: the server cuts the connection
            body = error_body(str(error), type=error.type, param=error.param, code=error.code)
            await self._send(send, _event(body))
        except TimeoutError:
            logger.warning("the client took nothing for %g s", self._send_timeout)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, chunk: bytes) -> None:
        async with asyncio.timeout(self._send_timeout):
            if not self._has_begun:
                self._has_begun = True
                await send(
                    {
                        "type": "http.response.start",
                        "status": self.status_code,
                        "headers": self.raw_headers,
                    }
                )
            await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _encoded(
    synthesizer: Synthesizer,
    script: Script,
    pieces: list[Piece],
    options: SpeechOptions,
    spoken: Spoken,
    encoders: CapacityLimiter,
) -> AsyncGenerator[bytes]:
    """The bytes of the answer's audio as they get ready; counts what was spoken."""
    started = monotonic()
    info = synthesizer.worker.info
    assert info is not None
    rate = info.sample_rate
    encoder = Encoder(options.response_format, rate, options.speed)
    with speech_errors():
        async with aclosing(synthesizer.speak(script, pieces)) as audio:
            async for samples in audio:
                if not spoken.seconds:
                    logger.info("first sound after %.3f s", monotonic() - started)
                spoken.seconds += len(samples) / rate
                for part in _split(samples, round(ENCODE_SECONDS * rate)):
                    if data := await to_thread.run_sync(encoder.feed, part, limiter=encoders):
                        yield data
    if data := await to_thread.run_sync(encoder.finish, limiter=encoders):
        yield data
    logger.info(
        "spoke %d words in %d pieces as %.2f s of audio in %.2f s",
        spoken.words,
        len(pieces),
        spoken.seconds,
        monotonic() - started,
    )


async def _events(chunks: AsyncGenerator[bytes], spoken: Spoken) -> AsyncGenerator[bytes]:
    """OpenAI's speech events: deltas, and at the end the usage."""
    async with aclosing(chunks):
        async for chunk in chunks:
            yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(chunk).decode()})
    yield _event({"type": "speech.audio.done", "usage": spoken.usage()})


def _event(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def _split(samples: np.ndarray, size: int) -> list[np.ndarray]:
    return [samples[start : start + size] for start in range(0, len(samples), size)]
