"""Prometheus metrics for speech; every series has a label with the model's name."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vibevoice_proxy.errors import InvalidRequest, ProxyError
from vibevoice_tts import Prepared, Synthesizer

FIRST_CHUNK_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60)
"""Buckets around half a second, up to which a response feels immediate."""
RATIOS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)
"""Buckets around 1, above which playback stutters."""


class SpeechMetrics:
    """Counters and histograms of speech in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._first_chunk_seconds = Histogram(
            "vibevoice_speech_first_chunk_seconds",
            "Seconds from a request's headers to the first bytes of its speech.",
            ("model",),
            buckets=FIRST_CHUNK_SECONDS,
            registry=registry,
        )
        self._real_time_factor = Histogram(
            "vibevoice_speech_real_time_factor",
            "Worker seconds per second of audio, including time spent on concurrent requests.",
            ("model",),
            buckets=RATIOS,
            registry=registry,
        )
        self._audio_seconds = Counter(
            "vibevoice_speech_audio_seconds",
            "Seconds of audio generated.",
            ("model",),
            registry=registry,
        )
        self._errors = Counter(
            "vibevoice_speech_errors",
            "Failed or incomplete speech requests, by error code.",
            ("model", "code"),
            registry=registry,
        )
        self._voices = Counter(
            "vibevoice_speech_voice_cache",
            "Voices whose features were cached (hit) or had to be computed (miss).",
            ("model", "outcome"),
            registry=registry,
        )
        self._voice_seconds = Counter(
            "vibevoice_speech_voice_seconds",
            "Seconds spent computing the features of voices.",
            ("model",),
            registry=registry,
        )
        self._workers = _Workers()
        registry.register(self._workers)

    def first_chunk(self, model: str, seconds: float) -> None:
        """Record the `seconds` from the request's headers to the first bytes of its speech."""
        self._first_chunk_seconds.labels(model).observe(seconds)

    def spoken(self, model: str, audio_seconds: float) -> None:
        """Count generated seconds of audio."""
        self._audio_seconds.labels(model).inc(audio_seconds)

    def passage(self, model: str, audio_seconds: float, seconds: float) -> None:
        """Count a passage of `audio_seconds` that spent `seconds` in the worker."""
        self._real_time_factor.labels(model).observe(seconds / audio_seconds)

    def prepared(self, model: str, voices: Prepared) -> None:
        """Count the voices of a passage."""
        self._voices.labels(model, "hit").inc(voices.found)
        self._voices.labels(model, "miss").inc(voices.computed)
        self._voice_seconds.labels(model).inc(voices.seconds)

    @contextmanager
    def errors(self, model: str) -> Iterator[None]:
        """Count errors raised in the block, except for invalid requests."""
        try:
            yield
        except InvalidRequest:
            raise
        except ProxyError as error:
            self._errors.labels(model, error.code or "none").inc()
            raise

    def watch(self, synthesizers: Sequence[Synthesizer]) -> None:
        """Report the state of `synthesizers` whenever the metrics are read."""
        self._workers.synthesizers = synthesizers


class _Workers(Collector):
    """Collects the workers' current state when the metrics are read."""

    def __init__(self) -> None:
        self.synthesizers: Sequence[Synthesizer] = ()

    def collect(self) -> Iterable[Metric]:
        in_flight = GaugeMetricFamily(
            "vibevoice_speech_in_flight", "Requests being spoken.", labels=("model",)
        )
        waiting = GaugeMetricFamily(
            "vibevoice_speech_waiting", "Requests waiting to be spoken.", labels=("model",)
        )
        ready = GaugeMetricFamily(
            "vibevoice_speech_worker_ready", "1 while the model can speak.", labels=("model",)
        )
        restarts = CounterMetricFamily(
            "vibevoice_speech_worker_restarts",
            "How often the model's worker died and was restarted.",
            labels=("model",),
        )
        for synthesizer in self.synthesizers:
            labels = (synthesizer.name,)
            in_flight.add_metric(labels, synthesizer.in_flight)
            waiting.add_metric(labels, synthesizer.waiting)
            ready.add_metric(labels, synthesizer.is_ready)
            restarts.add_metric(labels, synthesizer.restarts)
        return in_flight, waiting, ready, restarts
