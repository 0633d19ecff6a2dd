"""The Grafana dashboard and the alerts only query metrics that exist."""

import re
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from scripts.stack import ROOT
from tests.support.fakes import serve
from tests.support.monitoring import DASHBOARD, FOLDER, alert_rules, find_program, panel_queries

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings

ADAPTER = ROOT / "deploy" / "prometheus-adapter-values.yaml"
NAME = re.compile(r"\b(?:vibevoice_|vllm:|process_|DCGM_)\w+")
DCGM = {"DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_GPU_UTIL"}
"""Metrics in the exporter's default list of counters (NVIDIA/dcgm-exporter,
etc/default-counters.csv)."""


def expressions() -> list[str]:
    """Every query of the dashboard and the alerts."""
    return [query for _, query in panel_queries()] + [rule["expr"] for rule in alert_rules()]


def asked(prefix: str) -> set[str]:
    """Queried metrics with that prefix."""
    adapter = yaml.safe_load(ADAPTER.read_text())["rules"]["custom"]
    text = "\n".join([*expressions(), *(rule["seriesQuery"] for rule in adapter)])
    return {name for name in NAME.findall(text) if name.startswith(prefix)}


def there(url: str) -> set[str]:
    """Names in a /metrics response, including the sample names of every declared metric."""
    names: set[str] = set()
    for family in text_string_to_metric_families(httpx2.get(f"{url}/metrics", timeout=60).text):
        suffixes = {
            "counter": ["_total"],
            "histogram": ["_bucket", "_sum", "_count"],
        }.get(family.type, [""])
        names |= {family.name + suffix for suffix in suffixes}
    return names


def test_the_proxys_metrics_are_there() -> None:
    """Our own metrics, and those of the process."""
    with serve(
        create_app(Settings(asr_base_url="http://127.0.0.1:9", light="on", light_workers=1))
    ) as url:
        names = there(url)
    assert asked("vibevoice_") - names == set()
    assert asked("process_") - names == set()


@pytest.mark.engine
def test_the_engines_metrics_are_there(engine_url: str) -> None:
    """vLLM's metrics, which the autoscaler also queries."""
    assert asked("vllm:")
    assert asked("vllm:") - there(engine_url) == set()


def test_the_gpus_metrics_are_those_exported_by_default() -> None:
    """No DCGM metric requires a configuration of the exporter."""
    assert asked("DCGM_") == DCGM


def test_what_must_be_seen_is_shown() -> None:
    """The dashboard shows GPU memory, real-time factor, queue, errors and the latency of the first
    sound."""
    titles = {panel["title"] for panel in DASHBOARD["panels"]}
    assert titles >= {"GPU memory", "Real-time factor", "Queue", "Errors", "First sound"}


def test_panels_find_their_data_source() -> None:
    """Dashboard and provisioning refer to the same data source; panel ids are unique."""
    file = FOLDER / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    (source,) = yaml.safe_load(file.read_text())["datasources"]
    panels: list[dict[str, Any]] = [p for p in DASHBOARD["panels"] if p["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_promtool_takes_every_query(tmp_path: Path) -> None:
    """The dashboard's queries are valid PromQL, and each alert fires when it should
    (alerts.test.yml)."""
    promtool = find_program("promtool")
    queries = [expression.replace("$__rate_interval", "5m") for expression in expressions()]
    rules = [{"record": f"query:{n}", "expr": query} for n, query in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    for command in (["check", "rules", str(file)], ["test", "rules", "alerts.test.yml"]):
        found = subprocess.run(
            [promtool, *command], cwd=FOLDER, capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stdout + found.stderr


def test_every_alert_is_tested() -> None:
    """alerts.test.yml expects every alert to fire at least once."""
    tests = yaml.safe_load((FOLDER / "alerts.test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    assert fired == silent == {rule["alert"] for rule in alert_rules()}


def test_docs_have_every_alert_and_panel_row() -> None:
    """The tables in docs/guides/monitoring.md match the files."""
    page = (ROOT / "docs" / "guides" / "monitoring.md").read_text()
    alerts, rows = page.split("\n## Alerts\n")[1], page.split("\n## Dashboard\n")[1]
    lines = re.findall(r"^\| `(\w+)` \|.*\| (.*?) ?\| (\w+) \|$", alerts, re.M)
    told = {(name, duration.replace(" min", "m"), severity) for name, duration, severity in lines}
    rules = list(alert_rules())
    assert told == {(r["alert"], r.get("for", ""), r["labels"]["severity"]) for r in rules}
    named = re.findall(r"^\| ([A-Z][\w ]+) \|", rows.split("\n## ")[0], re.M)
    assert named == [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
