"""The Kubernetes manifests."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
FILES = sorted(path.name for path in FOLDER.iterdir())
DOCUMENTS: list[dict[str, Any]] = [
    document for name in FILES for document in yaml.safe_load_all((FOLDER / name).read_text())
]
PODS = [
    pytest.param(document["spec"]["template"]["spec"], id=document["metadata"]["name"])
    for document in DOCUMENTS
    if document["kind"] in ("Deployment", "Job")
]


def find(kind: str, name: str) -> dict[str, Any]:
    """The one manifest of that kind and name."""
    (found,) = [d for d in DOCUMENTS if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    return found


@pytest.mark.parametrize("name", FILES)
def test_manifests_fit_the_schema(name: str) -> None:
    """Every field is one that Kubernetes knows."""
    validate = Path(sys.executable).with_name("kubernetes-validate")
    command = [validate, "--strict", FOLDER / name]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("pod", PODS)
def test_pods_may_do_little(pod: dict[str, Any]) -> None:
    """Not root, a read-only root file system, no capabilities, no token of the cluster."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("pod", PODS)
def test_service_names_make_no_settings(pod: dict[str, Any]) -> None:
    """A service called `asr` or `api` would set ASR_PORT or API_PORT to an address."""
    assert pod["enableServiceLinks"] is False


def test_the_7b_has_time_to_load() -> None:
    """Half an hour passes before an engine that loads counts as broken."""
    (container,) = find("Deployment", "engine")["spec"]["template"]["spec"]["containers"]
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 1800


def test_every_reference_is_there() -> None:
    """Services, autoscalers, the budget and the policy select pods that exist, at their ports."""
    pods = {
        document["metadata"]["name"]: document["spec"]["template"]
        for document in DOCUMENTS
        if document["kind"] == "Deployment"
    }
    for document in DOCUMENTS:
        spec = document["spec"]
        if document["kind"] == "HorizontalPodAutoscaler":
            assert spec["scaleTargetRef"]["name"] in pods
            assert "replicas" not in find("Deployment", spec["scaleTargetRef"]["name"])["spec"]
        if document["kind"] == "Service":
            pod = pods[spec["selector"]["app.kubernetes.io/name"]]
            assert pod["metadata"]["labels"]["app.kubernetes.io/name"] in pods
            (container,) = pod["spec"]["containers"]
            assert [port["name"] for port in container["ports"]] == [
                port["targetPort"] for port in spec["ports"]
            ]


def test_engines_scale_by_a_metric_that_the_adapter_makes() -> None:
    """The autoscaler's metric is the one that prometheus-adapter is told to serve."""
    adapter = yaml.safe_load((FOLDER.parent / "prometheus-adapter-values.yaml").read_text())
    (rule,) = adapter["rules"]["custom"]
    (metric,) = find("HorizontalPodAutoscaler", "engine")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert rule["seriesQuery"].startswith("vllm:num_requests_waiting{")
