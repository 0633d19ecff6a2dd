"""What /metrics tells of the light recognizer's worker processes."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vibevoice_light import LightPool


class LightMetrics(Collector):
    """The workers' own numbers, as they are when they are read."""

    def __init__(self, pool: LightPool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        """One family for each number."""
        workers = self._pool.workers
        in_flight = sum(worker.in_flight for worker in workers)
        waiting = sum(max(0, worker.wanted - worker.in_flight) for worker in workers)
        for name, text, value in (
            ("workers", "Processes of the light recognizer.", len(workers)),
            ("workers_ready", "Those that can recognize.", sum(w.is_ready for w in workers)),
            ("workers_busy", "Those with a request.", sum(w.in_flight > 0 for w in workers)),
            ("in_flight", "Requests in the processes.", in_flight),
            ("waiting", "Requests that wait for a place in a process.", waiting),
        ):
            yield GaugeMetricFamily(f"vibevoice_light_{name}", text, value)
        yield CounterMetricFamily(
            "vibevoice_light_worker_restarts",
            "How often a process was lost and another one started.",
            self._pool.restarts,
        )
