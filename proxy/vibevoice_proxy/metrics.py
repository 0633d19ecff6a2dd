"""What the process counts, for Prometheus: GET /metrics."""

from collections.abc import Callable
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vibevoice_proxy.speech_metrics import SpeechMetrics

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600)
"""Buckets from a health check to an hour of audio."""
RATIOS = (0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5)
"""Buckets of seconds of work for a second of audio."""
NO_ROUTE = "none"
"""Route of requests that were refused before one was found."""
KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Counters, gauges and histograms of one process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "vibevoice_requests",
            "Answers, by route and status.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "vibevoice_request_seconds",
            "Seconds from the head of a request to the end of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._audio_seconds = Counter(
            "vibevoice_audio_seconds", "Seconds of audio transcribed.", registry=self.registry
        )
        self._real_time_factor = Histogram(
            "vibevoice_real_time_factor",
            "Seconds of transcribing for a second of audio.",
            buckets=RATIOS,
            registry=self.registry,
        )
        self._decode_seconds = Histogram(
            "vibevoice_decode_seconds",
            "Seconds in which an upload was decoded.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._first_segment_seconds = Histogram(
            "vibevoice_first_segment_seconds",
            "Seconds from the end of decoding to the first segment.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._upstream_errors = Counter(
            "vibevoice_upstream_errors",
            "Failures of the engine or of the translating model, by error code.",
            ("upstream", "code"),
            registry=self.registry,
        )
        self._loops = Counter(
            "vibevoice_loops",
            "Answers in which the model repeated itself without end, by what became of them.",
            ("outcome",),
            registry=self.registry,
        )
        for outcome in ("recovered", "truncated"):
            self._loops.labels(outcome)
        self.speech = SpeechMetrics(self.registry)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One answer has ended, `seconds` after its request began."""
        known = method if method in KNOWN_METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def decoded(self, seconds: float) -> None:
        """An upload was decoded in so many seconds."""
        self._decode_seconds.observe(seconds)

    def first_segment(self, seconds: float) -> None:
        """The first segment of a recording came so many seconds after it was decoded."""
        self._first_segment_seconds.observe(seconds)

    def transcribed(self, audio_seconds: float, seconds: float) -> None:
        """A recording of `audio_seconds` was transcribed in `seconds`."""
        self._audio_seconds.inc(audio_seconds)
        self._real_time_factor.observe(seconds / audio_seconds)

    def upstream_error(self, upstream: str, code: str | None) -> None:
        """A request to `upstream` (asr, translate) failed with an error of that code."""
        self._upstream_errors.labels(upstream, code or "none").inc()

    def loop(self, *, recovered: bool) -> None:
        """The model fell into a loop, and was brought out of it or not."""
        self._loops.labels("recovered" if recovered else "truncated").inc()

    def watch_admission(self, in_flight: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Two gauges that are read whenever the metrics are."""
        for name, text, count in (
            ("vibevoice_in_flight", "Recordings being served.", in_flight),
            ("vibevoice_waiting", "Requests in the queue.", waiting),
        ):
            Gauge(name, text, registry=self.registry).set_function(count)


class CountRequests:
    """ASGI middleware: tells `metrics` of every answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = monotonic()
        status = 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            # The router leaves the route it found in the scope; its path is a pattern, not a name.
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            self._metrics.request(scope["method"], route, status, monotonic() - started)
