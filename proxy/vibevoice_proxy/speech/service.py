"""The speech service: maps the names that clients use to the speech models of this process.

Each model has its own worker process, so a model that crashes, hangs or runs out of memory does not
affect requests to another model.
"""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

from anyio import CapacityLimiter
from prometheus_client import CollectorRegistry
from starlette.requests import Request

from vibevoice_proxy.admission import Admission
from vibevoice_proxy.decoder import AudioDecoder
from vibevoice_proxy.errors import InvalidRequest, ModelNotFound, UpstreamUnavailable
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.speech.metrics import SpeechMetrics
from vibevoice_proxy.speech.voice_samples import VoiceSamples
from vibevoice_proxy.speech.voice_store import VoiceStore
from vibevoice_tts import (
    MODELS,
    ModelConfig,
    NotEnglish,
    Plan,
    Script,
    Synthesizer,
    UnknownVoice,
    open_worker,
    routes,
)

LARGE_REQUESTS = 8
"""Maximum speech requests of up to 16 MiB that are read and decoded at the same time."""
ENCODERS = max(2, (os.cpu_count() or 1) // 2)
"""Threads that encode speech; more threads than processors would only delay the event loop."""
_ABLE = [card for card in MODELS if card.clones]
NO_CLONING = (
    f"No model served here can clone voices; {' or '.join(card.name for card in _ABLE)} can "
    f"(TTS_MODEL_TYPE={' or '.join([*(card.setting for card in _ABLE), 'both'])})."
)
"""Message for requests to clone a voice when no served model can."""


class SpeechService:
    """State shared by all speech requests; created once per process."""

    def __init__(
        self,
        settings: Settings,
        *,
        models: Mapping[str, Synthesizer],
        samples: VoiceSamples,
        metrics: SpeechMetrics,
    ) -> None:
        """`models`: the served models by their own names; the default model comes first."""
        self.settings = settings
        self.samples = samples
        self.metrics = metrics
        self.encoders = CapacityLimiter(ENCODERS)
        self.large_requests = Admission(
            LARGE_REQUESTS, settings.tts_max_queue, settings.queue_timeout
        )
        """Limits the memory of requests with a voice sample, whose bodies are read as a whole."""
        self._models = models
        self._routes = routes(tuple(card for card in MODELS if card.name in models))
        metrics.watch(self.models)

    @property
    def model_names(self) -> Sequence[str]:
        """Every name that a client may use; the models' own names come first."""
        return list(self._routes)

    @property
    def models(self) -> list[Synthesizer]:
        """The models; the default model comes first."""
        return list(self._models.values())

    async def check_health(self) -> dict[str, str]:
        """Each model → `ok`, or why it cannot speak now."""
        return {
            model.name: "ok" if model.is_ready else model.unready_message for model in self.models
        }

    def find(self, name: str) -> Synthesizer:
        """The model for `name`; raises ModelNotFound. Unless model names are strict, an unknown
        name means the default model."""
        if not self._models:
            raise ModelNotFound(
                "Speech synthesis is disabled on this server (TTS_MODEL_TYPE=off).", param="model"
            )
        card = self._routes.get(name)
        if card is None and self.settings.strict_model_names and name:
            raise ModelNotFound(
                f"The model {name!r} does not exist. Models: {', '.join(self.model_names)}.",
                param="model",
            )
        return self._models[card.name] if card else self.models[0]

    def candidates(self, name: str) -> list[Synthesizer]:
        """The models that may speak for `name`: its model and, unless `name` is the model's own
        name, the fallback of that model. Raises ModelNotFound."""
        first = self.find(name)
        if name == first.name:
            return [first]
        return [first, *(model for model in self.models if model.card.kind == first.card.behind)]

    def plan(self, name: str, script: Script) -> tuple[Synthesizer, Plan]:
        """Choose the model for a script and plan it: the first candidate for `name` that has the
        voices and can read the text. Raises ModelNotFound and what `Synthesizer.plan` raises."""
        first, *behind = self.candidates(name)
        try:
            return first, first.plan(script)
        except (UnknownVoice, NotEnglish) as error:
            for model in behind:
                return model, _plan_behind(model, script, error)
            raise

    def has_voice(self, name: str) -> bool:
        """Whether any loaded model has a voice or alias with this name."""
        return any(model.has_voice(name) for model in self.models)

    def check_cloning(self) -> None:
        """Raises InvalidRequest if no served model can clone voices, and UpstreamUnavailable if one
        can but is still loading for the first time."""
        cloning = [model for model in self.models if model.clones]
        if not cloning:
            raise InvalidRequest(NO_CLONING)
        for model in cloning:
            if model.info is None:
                raise UpstreamUnavailable(model.unready_message, code="speech_unavailable")


def _plan_behind(model: Synthesizer, script: Script, error: UnknownVoice | NotEnglish) -> Plan:
    """The plan of the fallback for the model that raised `error`."""
    try:
        return model.plan(script)
    except UnknownVoice as other:
        if isinstance(error, UnknownVoice):
            known = (*error.known, *other.known)
            raise UnknownVoice(other.name, known, other.matches) from other
        raise error from other


@asynccontextmanager
async def open_speech(
    settings: Settings, decoder: AudioDecoder, registry: CollectorRegistry
) -> AsyncIterator[SpeechService]:
    """Open the service and start its workers without waiting for them; they stop when the block
    ends. Metrics go to `registry`."""
    metrics = SpeechMetrics(registry)
    store = None
    if settings.voice_uploads:
        store = VoiceStore(Path(settings.voice_dir), settings.max_voices)
    async with AsyncExitStack() as workers:
        models: dict[str, Synthesizer] = {}
        for card in settings.speech_models:
            config = ModelConfig(
                card.kind,
                **card.folders(settings.models_folder),
                cache=settings.tts_voice_cache,
                device=settings.tts_device,
                dtype=settings.tts_dtype,
                attention=settings.attn_implementation,
                capacity=settings.tts_batch_size,
            )
            worker = await workers.enter_async_context(
                open_worker(
                    config,
                    start_timeout=settings.tts_start_timeout,
                    hang_timeout=settings.tts_hang_timeout,
                )
            )
            models[card.name] = Synthesizer(
                worker,
                max_waiting=settings.tts_max_queue,
                passage_chars=settings.tts_passage_chars,
            )
        yield SpeechService(
            settings, models=models, samples=VoiceSamples(decoder, store), metrics=metrics
        )


def speech_of(request: Request) -> SpeechService:
    """The speech service of the process that handles `request`."""
    return cast(SpeechService, request.state.speech)
