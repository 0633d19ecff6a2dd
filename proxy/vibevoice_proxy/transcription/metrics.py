"""Prometheus metrics of transcription."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from vibevoice_proxy.admission import Admission
from vibevoice_proxy.metrics import SECONDS
from vibevoice_proxy.transcription.transcript import INCOMPLETE_FILE

RATIOS = (0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5)
"""Buckets for seconds of processing per second of audio."""

MISSING_REASONS = (
    *("loop", "length", "format", "unclear", "no_transcript", "refused_by_engine"),
    *("upstream_error", "upstream_timeout", "upstream_unavailable", INCOMPLETE_FILE),
)
"""Initialized to 0, because Prometheus sees no increase in a series that starts with its first
event."""


class TranscriptionMetrics:
    """Counters, gauges and histograms of transcription in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._audio_seconds = Counter(
            "vibevoice_audio_seconds", "Seconds of audio transcribed.", registry=registry
        )
        self._real_time_factor = Histogram(
            "vibevoice_real_time_factor",
            "Seconds of processing per second of audio.",
            buckets=RATIOS,
            registry=registry,
        )
        self._decode_seconds = Histogram(
            "vibevoice_decode_seconds",
            "Seconds spent decoding an upload.",
            buckets=SECONDS,
            registry=registry,
        )
        self._first_segment_seconds = Histogram(
            "vibevoice_first_segment_seconds",
            "Seconds from the end of decoding to the first segment.",
            buckets=SECONDS,
            registry=registry,
        )
        self._upstream_errors = Counter(
            "vibevoice_upstream_errors",
            "Failures of the engine or the translation model, by error code.",
            ("upstream", "code"),
            registry=registry,
        )
        self._missing_seconds = Counter(
            "vibevoice_missing_seconds",
            "Seconds of audio missing from transcripts that were sent, by reason.",
            ("reason",),
            registry=registry,
        )
        self._missing_parts = Counter(
            "vibevoice_missing_parts",
            "Parts of recordings missing from transcripts that were sent, by reason.",
            ("reason",),
            registry=registry,
        )
        for reason in MISSING_REASONS:
            self._missing_seconds.labels(reason)
            self._missing_parts.labels(reason)
        self._loops = Counter(
            "vibevoice_loops",
            "Transcriptions in which the model looped, by result.",
            ("outcome",),
            registry=registry,
        )
        for outcome in ("recovered", "truncated"):
            self._loops.labels(outcome)

    def decoded(self, seconds: float) -> None:
        """Count an upload that took this many seconds to decode."""
        self._decode_seconds.observe(seconds)

    def first_segment(self, seconds: float) -> None:
        """Count the first segment of a recording, this many seconds after it was decoded."""
        self._first_segment_seconds.observe(seconds)

    def transcribed(self, audio_seconds: float, seconds: float) -> None:
        """Count a recording of `audio_seconds` that was transcribed in `seconds`."""
        self._audio_seconds.inc(audio_seconds)
        self._real_time_factor.observe(seconds / audio_seconds)

    def missing(self, reason: str, seconds: float) -> None:
        """Count a part of a recording that has no transcript."""
        self._missing_seconds.labels(reason).inc(seconds)
        self._missing_parts.labels(reason).inc()

    def upstream_error(self, upstream: str, code: str | None) -> None:
        """Count a failed request to `upstream` (asr, light, speakers, translate), by its error."""
        self._upstream_errors.labels(upstream, code or "none").inc()

    def loop(self, *, recovered: bool) -> None:
        """Count a loop of the model, by whether the proxy recovered from it."""
        self._loops.labels("recovered" if recovered else "truncated").inc()

    def watch(self, admission: Admission) -> None:
        """Add two gauges whose values are read from `admission` on each scrape."""
        for name, text, count in (
            ("vibevoice_in_flight", "Recordings being served.", lambda: admission.in_flight),
            ("vibevoice_waiting", "Requests in the queue.", lambda: admission.waiting),
        ):
            Gauge(name, text, registry=self._registry).set_function(count)
