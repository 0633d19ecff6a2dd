"""Metrics of the light recognizer's worker processes."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vibevoice_light import LightPool


class LightMetrics(Collector):
    """Reads the state of the workers whenever Prometheus asks."""

    def __init__(self, pool: LightPool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        """Yields one metric family per number."""
        workers = self._pool.workers
        in_flight = sum(worker.in_flight for worker in workers)
        waiting = sum(max(0, worker.wanted - worker.in_flight) for worker in workers)
        for name, text, value in (
            ("workers", "Worker processes of the light recognizer.", len(workers)),
            ("workers_ready", "Worker processes that are ready.", sum(w.is_ready for w in workers)),
            (
                "workers_busy",
                "Worker processes with a request.",
                sum(w.in_flight > 0 for w in workers),
            ),
            ("in_flight", "Requests being served.", in_flight),
            ("waiting", "Requests waiting for a worker process.", waiting),
        ):
            yield GaugeMetricFamily(f"vibevoice_light_{name}", text, value)
        yield CounterMetricFamily(
            "vibevoice_light_worker_restarts",
            "How often a worker process died and was restarted.",
            self._pool.restarts,
        )
