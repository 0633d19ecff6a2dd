"""What the process counts of its speech, for Prometheus; every series has the model's name."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vibevoice_proxy.errors import InvalidRequest, ProxyError
from vibevoice_tts import Prepared, Synthesizer

FIRST_CHUNK_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60)
"""Buckets around half a second, up to which an answer is heard as immediate."""
RATIOS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)
"""Buckets around 1, above which speech falters while it is played."""


class SpeechMetrics:
    """Counters and histograms of speech in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._first_chunk_seconds = Histogram(
            "vibevoice_speech_first_chunk_seconds",
            "Seconds from the head of a request to the first bytes of its speech.",
            ("model",),
            buckets=FIRST_CHUNK_SECONDS,
            registry=registry,
        )
        self._real_time_factor = Histogram(
            "vibevoice_speech_real_time_factor",
            "Seconds in the worker for a second of audio, others served meanwhile included.",
            ("model",),
            buckets=RATIOS,
            registry=registry,
        )
        self._audio_seconds = Counter(
            "vibevoice_speech_audio_seconds",
            "Seconds of audio spoken.",
            ("model",),
            registry=registry,
        )
        self._errors = Counter(
            "vibevoice_speech_errors",
            "Requests that were not spoken, or not to their end, by error code.",
            ("model", "code"),
            registry=registry,
        )
        self._voices = Counter(
            "vibevoice_speech_voice_cache",
            "Voices whose features were there already (hit), and computed anew (miss).",
            ("model", "outcome"),
            registry=registry,
        )
        self._voice_seconds = Counter(
            "vibevoice_speech_voice_seconds",
            "Seconds in which the features of voices were computed.",
            ("model",),
            registry=registry,
        )
        self._workers = _Workers()
        registry.register(self._workers)

    def first_chunk(self, model: str, seconds: float) -> None:
        """The first bytes of a request's speech are ready, `seconds` after its head came."""
        self._first_chunk_seconds.labels(model).observe(seconds)

    def spoken(self, model: str, audio_seconds: float) -> None:
        """Count seconds of audio that were made."""
        self._audio_seconds.labels(model).inc(audio_seconds)

    def passage(self, model: str, audio_seconds: float, seconds: float) -> None:
        """Count a passage of `audio_seconds` that was in the worker for `seconds`."""
        self._real_time_factor.labels(model).observe(seconds / audio_seconds)

    def prepared(self, model: str, voices: Prepared) -> None:
        """Count the voices of a passage."""
        self._voices.labels(model, "hit").inc(voices.found)
        self._voices.labels(model, "miss").inc(voices.computed)
        self._voice_seconds.labels(model).inc(voices.seconds)

    @contextmanager
    def errors(self, model: str) -> Iterator[None]:
        """Counts what ends the block, but for requests that are bad themselves."""
        try:
            yield
        except InvalidRequest:
            raise
        except ProxyError as error:
            self._errors.labels(model, error.code or "none").inc()
            raise

    def watch(self, synthesizers: Sequence[Synthesizer]) -> None:
        """Tell of these whenever the metrics are read."""
        self._workers.synthesizers = synthesizers


class _Workers(Collector):
    """The workers' own numbers, as they are when they are read."""

    def __init__(self) -> None:
        self.synthesizers: Sequence[Synthesizer] = ()

    def collect(self) -> Iterable[Metric]:
        in_flight = GaugeMetricFamily(
            "vibevoice_speech_in_flight", "Requests being spoken.", labels=("model",)
        )
        waiting = GaugeMetricFamily(
            "vibevoice_speech_waiting", "Requests that wait to be spoken.", labels=("model",)
        )
        ready = GaugeMetricFamily(
            "vibevoice_speech_worker_ready", "1 while the model can speak.", labels=("model",)
        )
        restarts = CounterMetricFamily(
            "vibevoice_speech_worker_restarts",
            "How often the model's worker was lost and started again.",
            labels=("model",),
        )
        for synthesizer in self.synthesizers:
            labels = (synthesizer.name,)
            in_flight.add_metric(labels, synthesizer.in_flight)
            waiting.add_metric(labels, synthesizer.waiting)
            ready.add_metric(labels, synthesizer.is_ready)
            restarts.add_metric(labels, synthesizer.restarts)
        return in_flight, waiting, ready, restarts
