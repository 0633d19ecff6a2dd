"""Parses GET /metrics as Prometheus would."""

from collections.abc import Callable

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from tests.support.processes import wait_for


def samples(http: httpx2.Client) -> dict[tuple[str, ...], float]:
    """(name, label values in the order of their names…) → value, as Prometheus would parse them."""
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def samples_when(
    http: httpx2.Client, condition: Callable[[dict[tuple[str, ...], float]], bool]
) -> dict[tuple[str, ...], float]:
    """The samples once `condition` holds; a request is counted just after its response was sent."""
    return wait_for(lambda: found if condition(found := samples(http)) else None)
