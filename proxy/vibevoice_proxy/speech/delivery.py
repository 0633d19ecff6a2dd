"""Generates, encodes and counts the speech of one request."""

import base64
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from math import ceil
from time import monotonic

import numpy as np
from anyio import CapacityLimiter, to_thread

from vibevoice_core import headers
from vibevoice_core.audio import TOKENS_PER_SECOND
from vibevoice_proxy.speech.errors import speech_errors
from vibevoice_proxy.speech.formats import Encoder
from vibevoice_proxy.speech.metrics import SpeechMetrics
from vibevoice_proxy.streaming import encode_event
from vibevoice_tts import End, Plan, Prepared, Samples, Script, Synthesizer, words_in

ENCODE_SECONDS = 1.0
"""Maximum audio encoded in one call, so that a long chunk is not delayed and does not block."""
SILENCE_SECONDS = 0.2
"""Length of the silence returned for a text without letters or digits."""
CACHE, CACHE_SECONDS, WARNING = HEADERS = (
    "x-vibevoice-voice-cache",
    "x-vibevoice-voice-seconds",
    "x-vibevoice-voice-warning",
)
"""Response headers: whether the features of the voices were cached (`hit`) or not (`miss`), the
seconds taken to compute them, and a warning about a voice sample."""

logger = logging.getLogger(__name__)


class Delivery:
    """Generates the speech of a planned script and records metrics."""

    def __init__(
        self,
        synthesizer: Synthesizer,
        script: Script,
        plan: Plan,
        *,
        metrics: SpeechMetrics,
        encoders: CapacityLimiter,
        started: float,
        warning: str,
    ) -> None:
        """`started`: when the request's headers arrived (monotonic). `warning`: a problem with a
        voice sample, or empty."""
        self._synthesizer = synthesizer
        self._script = script
        self._plan = plan
        self._metrics = metrics
        self._encoders = encoders
        self._started = started
        self._warning = warning
        self._words = sum(words_in(passage) for passage in plan.passages)
        self._seconds = 0.0
        """Seconds of audio from the model, before any change of speed."""
        self.passages_spoken = 0
        """Passages that are complete."""
        self._voices: Prepared | None = None
        """Cost of preparing the voices of the first passage."""

    def headers(self) -> dict[str, str]:
        """Response headers about the model and the voices."""
        found = {headers.MODEL: self._synthesizer.name}
        if self._warning:
            found[WARNING] = self._warning
        if self._voices:
            found[CACHE] = "miss" if self._voices.computed else "hit"
            found[CACHE_SECONDS] = f"{self._voices.seconds:.3f}"
        return found

    async def audio(self, response_format: str, speed: float) -> AsyncGenerator[bytes]:
        """Yield the encoded audio as it becomes available."""
        model, rate = self._synthesizer.name, self._plan.info.sample_rate
        encoder = Encoder(response_format, rate, speed)
        has_begun = False
        with self._metrics.errors(model):
            async with aclosing(self._samples()) as chunks:
                async for samples in chunks:
                    for part in _split(samples, round(ENCODE_SECONDS * rate)):
                        data = await self._encode(encoder.feed, part)
                        if data and not has_begun:
                            has_begun = True
                            self._metrics.first_chunk(model, monotonic() - self._started)
                        if data:
                            yield data
        if data := await self._encode(encoder.finish):
            yield data
        logger.info(
            "spoke %d words in %d passages as %.2f s of audio in %.2f s",
            self._words,
            len(self._plan.passages),
            self._seconds,
            monotonic() - self._started,
        )

    async def events(self, response_format: str, speed: float) -> AsyncGenerator[bytes]:
        """Yield the audio as OpenAI's speech events: deltas, then the usage at the end."""
        async with aclosing(self.audio(response_format, speed)) as chunks:
            async for chunk in chunks:
                data = base64.b64encode(chunk).decode()
                yield encode_event({"type": "speech.audio.delta", "audio": data})
        yield encode_event({"type": "speech.audio.done", "usage": self._usage()})

    def _usage(self) -> dict[str, int]:
        """OpenAI's usage object: input words and output speech frames."""
        frames = ceil(self._seconds * TOKENS_PER_SECOND)
        return {
            "input_tokens": self._words,
            "output_tokens": frames,
            "total_tokens": self._words + frames,
        }

    async def _encode(self, step: Callable[..., bytes], *samples: Samples) -> bytes:
        return await to_thread.run_sync(step, *samples, limiter=self._encoders)

    async def _samples(self) -> AsyncGenerator[Samples]:
        """The audio of the script, mono float32 at the model's rate. A script without words gives a
        short silence, since clients that read text aloud in parts send such parts too."""
        model, rate = self._synthesizer.name, self._plan.info.sample_rate
        if not self._plan.passages:
            self._seconds = SILENCE_SECONDS
            yield np.zeros(round(SILENCE_SECONDS * rate), np.float32)
            return
        passage_seconds = 0.0
        with speech_errors():
            async with aclosing(self._synthesizer.speak(self._script, self._plan)) as events:
                async for event in events:
                    if isinstance(event, Prepared):
                        self._voices = self._voices or event
                        self._metrics.prepared(model, event)
                    elif isinstance(event, End):
                        self._metrics.passage(model, passage_seconds, event.seconds)
                        passage_seconds = 0.0
                        self.passages_spoken += 1
                    else:
                        seconds = len(event) / rate
                        self._seconds += seconds
                        passage_seconds += seconds
                        self._metrics.spoken(model, seconds)
                        yield event


def _split(samples: np.ndarray, size: int) -> list[np.ndarray]:
    return [samples[start : start + size] for start in range(0, len(samples), size)]
