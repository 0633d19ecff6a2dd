"""The project's dashboard and alerts, and a real Prometheus that runs them faster."""

import json
import math
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from scripts.stack import ROOT, free_port
from tests.support.processes import START_SECONDS, running

FOLDER = ROOT / "docker" / "monitoring"
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboards" / "vibevoice.json").read_text())
ALERTS = yaml.safe_load((FOLDER / "alerts.yml").read_text())
FASTER = 60
"""Factor by which all durations in the alerts are divided."""
SCRAPE_SECONDS = 2
"""Also how long a scrape may take; two of them fit into the WINDOW."""
WINDOW = "5s"
"""Value of Grafana's $__rate_interval."""
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"(?<=\[)(\d+)([smh])(?=\])")


def panel_queries() -> Iterator[tuple[str, str]]:
    """(panel, query) of the dashboard."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def alert_rules() -> Iterator[dict[str, Any]]:
    """Every alert."""
    for group in ALERTS["groups"]:
        yield from group["rules"]


def find_program(name: str) -> Path:
    """prometheus or promtool; the test is skipped where it is not installed."""
    if found := shutil.which(name):
        return Path(found)
    pytest.skip(f"needs {name} (Debian: apt-get install prometheus)")


class Prometheus:
    """The API of a running Prometheus."""

    def __init__(self, http: httpx2.Client) -> None:
        """`http`: a client of its API."""
        self._http = http
        self._started = time.time()

    def alerts(self) -> dict[str, str]:
        """Alert → `pending` or `firing`."""
        found = self._http.get("/alerts").json()["data"]["alerts"]
        return {alert["labels"]["alertname"]: alert["state"] for alert in found}

    def targets_up(self) -> set[str]:
        """Jobs of which every target answers."""
        found = self._http.get("/query", params={"query": "min by (job) (up) == 1"}).json()
        return {series["metric"]["job"] for series in found["data"]["result"]}

    def history(self, query: str, since: float | None = None) -> list[float]:
        """All finite values of the query, one per second since the start, or since a time
        (`time.time()`)."""
        params: dict[str, str | float] = {
            "query": query.replace("$__rate_interval", WINDOW),
            "start": self._started if since is None else since,
            "end": time.time(),
            "step": 1,
        }
        answer = self._http.get("/query_range", params=params).json()
        assert answer["status"] == "success", answer
        series = answer["data"]["result"]
        numbers = [float(value) for one in series for _, value in one["values"]]
        return [number for number in numbers if math.isfinite(number)]


@contextmanager
def running_prometheus(folder: Path, targets: Mapping[str, Sequence[str]]) -> Iterator[Prometheus]:
    """A Prometheus with the project's configuration. It scrapes `targets` (job → base URLs) every
    SCRAPE_SECONDS, and its alerts run FASTER."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": "1s"}
    config["rule_files"] = ["alerts.yml"]
    jobs = [job for job in config["scrape_configs"] if job["job_name"] in targets]
    assert len(jobs) == len(targets)
    for job in jobs:
        hosts = [url.removeprefix("http://") for url in targets[job["job_name"]]]
        job["static_configs"] = [{"targets": hosts}]
    config["scrape_configs"] = jobs
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / "alerts.yml").write_text(yaml.safe_dump(_faster(ALERTS)))
    port = free_port()
    command = [
        find_program("prometheus"),
        "--config.file=prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    url = f"http://127.0.0.1:{port}"
    log = folder / "prometheus.log"
    with (
        running(
            "Prometheus", command, f"{url}/-/ready", log, START_SECONDS, environ={}, cwd=folder
        ),
        httpx2.Client(base_url=f"{url}/api/v1", timeout=60) as http,
    ):
        yield Prometheus(http)


def _faster(rules: Any) -> Any:
    groups: list[dict[str, Any]] = []
    for group in rules["groups"]:
        changed: list[dict[str, Any]] = []
        for rule in group["rules"]:
            rule = {**rule, "expr": _DURATION.sub(_shorter, rule["expr"])}
            if duration := re.fullmatch(r"(\d+)([smh])", rule.get("for", "")):
                rule["for"] = _shorter(duration)
            changed.append(rule)
        groups.append({**group, "rules": changed})
    return {"groups": groups}


def _shorter(duration: re.Match[str]) -> str:
    return f"{int(duration[1]) * _SECONDS[duration[2]] * 1000 // FASTER}ms"
