"""POST /v1/audio/speech: a text in, speech out as it is made."""

import base64
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from math import ceil
from time import monotonic

import numpy as np
from anyio import to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from vibevoice_proxy.encoder import ENCODINGS, Encoder
from vibevoice_proxy.resources import Resources, resources_of
from vibevoice_proxy.speech_options import REF_AUDIO, SpeechOptions, body_schema, is_large
from vibevoice_proxy.streamed import EVENTS, StreamedAnswer, encode_event
from vibevoice_proxy.synthesizers import speech_errors
from vibevoice_proxy.voice_samples import collect_samples, warning_of
from vibevoice_tts.engine import End, Prepared
from vibevoice_tts.script import Piece, words_in
from vibevoice_tts.synthesizer import Script, Synthesizer

ENCODE_SECONDS = 1.0
"""Most audio that is encoded in one go, so that a long chunk neither waits nor blocks."""
FRAMES_PER_SECOND = 7.5
"""Speech tokens of the VibeVoice models for a second of audio."""
CACHE, CACHE_SECONDS, WARNING = HEADERS = (
    "x-vibevoice-voice-cache",
    "x-vibevoice-voice-seconds",
    "x-vibevoice-voice-warning",
)
"""Headers of speech: whether the features of its voices were there already (`hit`) or not (`miss`),
the seconds in which they were computed, and what is wrong with a sample."""

router = APIRouter()
logger = logging.getLogger(__name__)


@dataclass
class Spoken:
    """How much has been spoken so far, and what it took."""

    words: int
    began: float
    """When the head of the request came (monotonic)."""
    warning: str = ""
    """What is wrong with a sample."""
    seconds: float = 0.0
    """Of audio as the model made it, before a change of speed."""
    voices: Prepared | None = None
    """What the voices of the first piece took."""

    def headers(self) -> dict[str, str]:
        """What the answer tells of its voices."""
        found = {WARNING: self.warning} if self.warning else {}
        if self.voices:
            found[CACHE] = "miss" if self.voices.computed else "hit"
            found[CACHE_SECONDS] = f"{self.voices.seconds:.3f}"
        return found

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
    began = monotonic()
    resources = resources_of(request)
    settings = resources.settings
    # The recording of a large body is decoded before its place is given up, and then let go of.
    room = resources.large_speech.place() if is_large(request) else nullcontext()
    async with room:
        options = await SpeechOptions.from_request(
            request, settings.tts_max_input_chars, settings.upload_timeout
        )
        synthesizer = resources.synthesizers.find(options.model)
        with resources.metrics.speech.errors(synthesizer.worker.model.name), speech_errors():
            synthesizer.check_room()
            samples = await collect_samples(options, synthesizer, resources)
        script = Script(
            options.input,
            options.voice_name,
            options.speakers,
            options.cfg_scale,
            options.steps,
            options.seed,
            samples,
        )
        options = options.model_copy(update={"ref_audio": ""})
    with resources.metrics.speech.errors(synthesizer.worker.model.name), speech_errors():
        pieces = await to_thread.run_sync(synthesizer.plan, script)
    warning = warning_of(samples[REF_AUDIO]) if REF_AUDIO in samples else ""
    spoken = Spoken(sum(words_in(piece) for piece in pieces), began, warning)
    audio = _encoded(synthesizer, script, pieces, options, spoken, resources)
    media_type = ENCODINGS[options.response_format].media_type
    if options.stream_format == "sse":
        audio, media_type = _events(audio, spoken), EVENTS
    return StreamedAnswer(
        audio, media_type, send_timeout=settings.tts_send_timeout, more_headers=spoken.headers
    )


async def _encoded(
    synthesizer: Synthesizer,
    script: Script,
    pieces: list[Piece],
    options: SpeechOptions,
    spoken: Spoken,
    resources: Resources,
) -> AsyncGenerator[bytes]:
    """The bytes of the answer's audio as they get ready; counts what was spoken."""
    metrics, limiter = resources.metrics.speech, resources.synthesizers.encoders
    info = synthesizer.worker.info
    assert info is not None
    model, rate = info.name, info.sample_rate
    encoder = Encoder(options.response_format, rate, options.speed)
    has_begun = False
    with metrics.errors(model):
        audio = _samples(synthesizer, script, pieces, spoken, resources)
        async with aclosing(audio):
            async for samples in audio:
                for part in _split(samples, round(ENCODE_SECONDS * rate)):
                    data = await to_thread.run_sync(encoder.feed, part, limiter=limiter)
                    if data and not has_begun:
                        has_begun = True
                        metrics.first_chunk(model, monotonic() - spoken.began)
                    if data:
                        yield data
    if data := await to_thread.run_sync(encoder.finish, limiter=limiter):
        yield data
    logger.info(
        "spoke %d words in %d pieces as %.2f s of audio in %.2f s",
        spoken.words,
        len(pieces),
        spoken.seconds,
        monotonic() - spoken.began,
    )


async def _samples(
    synthesizer: Synthesizer,
    script: Script,
    pieces: list[Piece],
    spoken: Spoken,
    resources: Resources,
) -> AsyncGenerator[np.ndarray]:
    """The audio of a script; counts it and what it took."""
    metrics = resources.metrics.speech
    info = synthesizer.worker.info
    assert info is not None
    piece_seconds = 0.0
    with speech_errors():
        async with aclosing(synthesizer.speak(script, pieces)) as events:
            async for event in events:
                if isinstance(event, Prepared):
                    spoken.voices = spoken.voices or event
                    metrics.prepared(info.name, event)
                elif isinstance(event, End):
                    metrics.piece(info.name, piece_seconds, event.seconds)
                    piece_seconds = 0.0
                else:
                    seconds = len(event) / info.sample_rate
                    spoken.seconds += seconds
                    piece_seconds += seconds
                    metrics.spoken(info.name, seconds)
                    yield event


async def _events(chunks: AsyncGenerator[bytes], spoken: Spoken) -> AsyncGenerator[bytes]:
    """OpenAI's speech events: deltas, and at the end the usage."""
    async with aclosing(chunks):
        async for chunk in chunks:
            data = base64.b64encode(chunk).decode()
            yield encode_event({"type": "speech.audio.delta", "audio": data})
    yield encode_event({"type": "speech.audio.done", "usage": spoken.usage()})


def _split(samples: np.ndarray, size: int) -> list[np.ndarray]:
    return [samples[start : start + size] for start in range(0, len(samples), size)]
