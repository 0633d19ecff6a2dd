"""The speech of one request on its way to the client: made, encoded, counted."""

import base64
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from math import ceil
from time import monotonic

import numpy as np
from anyio import CapacityLimiter, to_thread

from vibevoice_core.audio import TOKENS_PER_SECOND
from vibevoice_proxy.speech.errors import speech_errors
from vibevoice_proxy.speech.formats import Encoder
from vibevoice_proxy.speech.metrics import SpeechMetrics
from vibevoice_proxy.streaming import encode_event
from vibevoice_tts import End, Plan, Prepared, Samples, Script, Synthesizer, words_in

ENCODE_SECONDS = 1.0
"""Most audio that is encoded in one go, so that a long chunk neither waits nor blocks."""
SILENCE_SECONDS = 0.2
"""Of a text without a letter or digit."""
MODEL, CACHE, CACHE_SECONDS, WARNING = HEADERS = (
    "x-vibevoice-model",
    "x-vibevoice-voice-cache",
    "x-vibevoice-voice-seconds",
    "x-vibevoice-voice-warning",
)
"""Headers of speech: the model that spoke, whether the features of its voices were there already
(`hit`) or not (`miss`), the seconds in which they were computed, and what is wrong with a
sample."""

logger = logging.getLogger(__name__)


class Delivery:
    """Makes the speech of a planned script and counts what was made."""

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
        """`started`: when the head of the request came (monotonic); `warning`: what is wrong with
        a voice sample, or empty."""
        self._synthesizer = synthesizer
        self._script = script
        self._plan = plan
        self._metrics = metrics
        self._encoders = encoders
        self._started = started
        self._warning = warning
        self._words = sum(words_in(passage) for passage in plan.passages)
        self._seconds = 0.0
        """Of audio as the model made it, before a change of speed."""
        self.passages_spoken = 0
        """How many are made to their end."""
        self._voices: Prepared | None = None
        """What the voices of the first passage took."""

    def headers(self) -> dict[str, str]:
        """What the answer tells of its model and its voices."""
        found = {MODEL: self._synthesizer.name}
        if self._warning:
            found[WARNING] = self._warning
        if self._voices:
            found[CACHE] = "miss" if self._voices.computed else "hit"
            found[CACHE_SECONDS] = f"{self._voices.seconds:.3f}"
        return found

    async def audio(self, response_format: str, speed: float) -> AsyncGenerator[bytes]:
        """The bytes of the answer's audio as they get ready."""
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
        """The same as OpenAI's speech events: deltas, and at the end the usage."""
        async with aclosing(self.audio(response_format, speed)) as chunks:
            async for chunk in chunks:
                data = base64.b64encode(chunk).decode()
                yield encode_event({"type": "speech.audio.delta", "audio": data})
        yield encode_event({"type": "speech.audio.done", "usage": self._usage()})

    def _usage(self) -> dict[str, int]:
        """OpenAI's usage: words in, speech frames out."""
        frames = ceil(self._seconds * TOKENS_PER_SECOND)
        return {
            "input_tokens": self._words,
            "output_tokens": frames,
            "total_tokens": self._words + frames,
        }

    async def _encode(self, step: Callable[..., bytes], *samples: Samples) -> bytes:
        return await to_thread.run_sync(step, *samples, limiter=self._encoders)

    async def _samples(self) -> AsyncGenerator[Samples]:
        """The audio of the script, mono float32 at the model's rate; a short silence where it has
        no words, since callers that read an answer aloud part by part send such parts too."""
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
