"""The speech models of this process, each with a worker of its own: a model that crashes, hangs or
runs out of memory costs the requests of the other nothing."""

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from anyio import CapacityLimiter

from vibevoice_proxy.errors import (
    InvalidRequest,
    ModelNotFound,
    TooManyRequests,
    UpstreamError,
    UpstreamUnavailable,
)
from vibevoice_proxy.settings import Settings
from vibevoice_tts import engine, synthesizer
from vibevoice_tts.models import NAMES, Kind, Model, folders, routes
from vibevoice_tts.process import WorkerUnavailable, open_worker
from vibevoice_tts.synthesizer import Synthesizer

ENCODERS = max(2, (os.cpu_count() or 1) // 2)


class Synthesizers:
    """The models by the names that clients use."""

    def __init__(self, models: Mapping[Kind, Synthesizer], *, strict: bool) -> None:
        """`strict` refuses names that are nobody's; else they mean the first model."""
        self._models = models
        self._routes = routes(tuple(models))
        self._strict = strict
        self.encoders = CapacityLimiter(ENCODERS)
        """Bounds the threads that encode speech: more of them than processors would only keep the
        event loop waiting."""

    @property
    def names(self) -> list[str]:
        """Every name that a client may use, the models' own first."""
        return list(self._routes)

    @property
    def models(self) -> list[Synthesizer]:
        """The models, the default first."""
        return list(self._models.values())

    def has_voice(self, name: str) -> bool:
        """Whether a model has a voice or an alias of this name, as far as is known by now."""
        return any(model.has_voice(name) for model in self.models)

    def check_cloning(self) -> None:
        """Raises InvalidRequest when no model here clones voices, UpstreamUnavailable while the one
        that does has not said yet which it has."""
        cloning = [model.worker for model in self.models if model.worker.model.clones]
        if not cloning:
            raise InvalidRequest(
                f"No model served here can clone voices; {NAMES['full']} can "
                "(TTS_MODEL_TYPE=1.5b or both)."
            )
        for worker in cloning:
            if worker.info is None:
                raise UpstreamUnavailable(worker.unready_message, code="speech_unavailable")

    def find(self, name: str) -> Synthesizer:
        """The model that `name` means; raises ModelNotFound."""
        if not self._models:
            raise ModelNotFound("This server does not speak (TTS_MODEL_TYPE=off).", param="model")
        kind = self._routes.get(name)
        if kind is None and self._strict and name:
            raise ModelNotFound(
                f"The model {name!r} does not exist. Models: {', '.join(self.names)}.",
                param="model",
            )
        return self._models[kind] if kind else self.models[0]


@asynccontextmanager
async def open_synthesizers(settings: Settings) -> AsyncIterator[Synthesizers]:
    """The workers, started but not waited for, and ended with the block."""
    async with AsyncExitStack() as workers:
        found: dict[Kind, Synthesizer] = {}
        for kind in settings.speech_models:
            model = Model(
                kind,
                **folders(kind, settings.models_folder),
                cache=settings.tts_voice_cache,
                device=settings.tts_device,
                dtype=settings.tts_dtype,
                attention=settings.attn_implementation,
                capacity=settings.tts_batch_size,
            )
            worker = await workers.enter_async_context(
                open_worker(
                    model,
                    start_timeout=settings.tts_start_timeout,
                    hang_timeout=settings.tts_hang_timeout,
                )
            )
            found[kind] = Synthesizer(
                worker, max_waiting=settings.tts_max_queue, piece_weight=settings.tts_chunk_chars
            )
        yield Synthesizers(found, strict=settings.strict_model_names)


@contextmanager
def speech_errors() -> Iterator[None]:
    """What goes wrong in speech, as the proxy's errors."""
    try:
        yield
    except engine.UnknownVoice as error:
        raise InvalidRequest(str(error), param="voice") from error
    except engine.CannotClone as error:
        raise InvalidRequest(str(error), param="model") from error
    except engine.InvalidRequest as error:
        raise InvalidRequest(str(error), param="input") from error
    except synthesizer.TooManyRequests as error:
        raise TooManyRequests from error
    except WorkerUnavailable as error:
        raise UpstreamUnavailable(str(error), code="speech_unavailable") from error
    except engine.SpeechError as error:
        raise UpstreamError(str(error), code="speech_failed") from error
