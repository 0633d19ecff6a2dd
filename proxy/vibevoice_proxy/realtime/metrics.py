"""Prometheus metrics for realtime sessions."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from vibevoice_proxy.metrics import SECONDS


class RealtimeMetrics:
    """Counters, gauges and histograms of realtime sessions in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._open = Gauge(
            "vibevoice_realtime_sessions_open", "Realtime sessions now.", registry=registry
        )
        self._sessions = Counter(
            "vibevoice_realtime_sessions",
            "Ended realtime sessions, by reason.",
            ("end",),
            registry=registry,
        )
        self._turns = Counter(
            "vibevoice_realtime_turns",
            "Turns of realtime sessions, by result.",
            ("outcome",),
            registry=registry,
        )
        self._delay_seconds = Histogram(
            "vibevoice_realtime_delay_seconds",
            "Seconds from the arrival of the last speech of a turn to its complete "
            "transcript, including the silence that ends the turn.",
            buckets=SECONDS,
            registry=registry,
        )
        self._audio_seconds = Counter(
            "vibevoice_realtime_audio_seconds",
            "Seconds of audio received by realtime sessions.",
            registry=registry,
        )
        self._responses = Counter(
            "vibevoice_realtime_responses",
            "Responses of voice calls, by result.",
            ("outcome",),
            registry=registry,
        )
        self._answer_seconds = Histogram(
            "vibevoice_realtime_answer_seconds",
            "Seconds from the arrival of the last speech of a turn to the first "
            "audio of its answer, including the time of the client's language "
            "model.",
            buckets=SECONDS,
            registry=registry,
        )
        for outcome in ("completed", "failed"):
            self._turns.labels(outcome)
            self._responses.labels(outcome)
        self._responses.labels("cancelled")

    @contextmanager
    def session(self) -> Iterator[None]:
        """Counts a session as open until the block ends."""
        with self._open.track_inprogress():
            yield

    def ended(self, end: str) -> None:
        """Count the end of a session: `client`, `idle`, `expired`, `slow`, `stopping`, `error`."""
        self._sessions.labels(end).inc()

    def received(self, seconds: float) -> None:
        """Count seconds of received audio."""
        self._audio_seconds.inc(seconds)

    def completed(self, delay: float) -> None:
        """Count a turn that was transcribed after `delay` seconds."""
        self._turns.labels("completed").inc()
        self._delay_seconds.observe(delay)

    def failed(self) -> None:
        """Count a turn without a transcript."""
        self._turns.labels("failed").inc()

    def responded(self, outcome: str) -> None:
        """Count a response: `completed`, `cancelled`, `failed`."""
        self._responses.labels(outcome).inc()

    def answered(self, delay: float) -> None:
        """Record the `delay` in seconds from the speech to the first audio of its answer."""
        self._answer_seconds.observe(delay)
