"""The manifests that the Helm chart renders from its three example values files."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cloudcoil.models.prometheus_operator import v1 as operator
from pydantic import BaseModel
from scripts.stack import ROOT
from scripts.write_chart import (
    CHART,
    MANIFESTS,
    PROGRAMS,
    README,
    SCHEMA,
    manifests,
    readme,
    schema,
)

from vibevoice_core.worker_process import END_SECONDS
from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings
from vibevoice_vllm import supervise
from vibevoice_vllm.memory_plan import Card
from vibevoice_vllm.model_sizes import PUBLISHED, model_sizes
from vibevoice_vllm.planner import Planner
from vibevoice_vllm.settings import LaunchSettings, PluginSettings

NAMES = sorted(path.name for path in (CHART / "values").iterdir())
DOCUMENTS: dict[str, list[dict[str, Any]]] = {
    name: list(yaml.safe_load_all((MANIFESTS / name).read_text())) for name in NAMES
}
CLAIMS_OF_THE_USER = {"vibevoice-voices", "vibevoice-speakers"}
MADE_BY_KIND: dict[str, type[BaseModel]] = {
    "PodMonitor": operator.PodMonitor,
    "PrometheusRule": operator.PrometheusRule,
}
"""Kinds of the Prometheus operator, which Kubernetes' own schemas do not include."""


def of_kind(name: str, *kinds: str) -> list[dict[str, Any]]:
    """The manifests of these kinds in a file."""
    return [document for document in DOCUMENTS[name] if document["kind"] in kinds]


PODS = [
    pytest.param(document, id=f"{name}-{document['metadata']['name']}")
    for name in NAMES
    for document in of_kind(name, "Deployment", "Job")
]


def component(document: dict[str, Any]) -> str:
    """engine, proxy, speech…"""
    return document["metadata"]["labels"]["app.kubernetes.io/component"]


def environment(container: dict[str, Any]) -> dict[str, str]:
    """The environment variables of a container whose values are in the manifest."""
    return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


def test_files_are_written_from_the_chart() -> None:
    """`make settings` changes nothing."""
    assert SCHEMA.read_text() == schema()
    assert README.read_text() == readme()
    written = {path.name: path.read_text() for path in MANIFESTS.iterdir()}
    assert written == manifests()


@pytest.mark.parametrize("name", NAMES)
def test_manifests_fit_the_schema(name: str) -> None:
    """Every field is defined by Kubernetes."""
    validate = Path(sys.executable).with_name("kubernetes-validate")
    command = [validate, "--strict", MANIFESTS / name]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    told = found.stdout + found.stderr
    assert found.returncode == 0, told
    assert told.count("passed for resource") == len(DOCUMENTS[name]) - len(
        of_kind(name, *MADE_BY_KIND)
    )


def test_the_operators_manifests_fit_its_types() -> None:
    """Every field is defined by the Prometheus operator: a model of its types would drop unknown
    ones."""
    documents = of_kind("full.yaml", *MADE_BY_KIND)
    assert {document["kind"] for document in documents} == set(MADE_BY_KIND)
    for document in documents:
        read = MADE_BY_KIND[document["kind"]].model_validate(document)
        assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == document


@pytest.mark.parametrize("document", PODS)
def test_pods_may_do_little(document: dict[str, Any]) -> None:
    """Pods do not run as root; they have a read-only root file system, no capabilities, and no
    token of the cluster."""
    pod = document["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts >= {"/cache", "/tmp"}, "folders written to on a read-only root"


@pytest.mark.parametrize("document", PODS)
def test_service_names_make_no_settings(document: dict[str, Any]) -> None:
    """A service named `asr` or `api` would set ASR_PORT or API_PORT to an address."""
    assert document["spec"]["template"]["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("document", PODS)
def test_volumes_are_there(document: dict[str, Any]) -> None:
    """Every mount has a volume, whose claim is created by the chart or specified by the user."""
    pod = document["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
    made = {d["metadata"]["name"] for d in of_kind("full.yaml", "PersistentVolumeClaim")}
    claims = [volume.get("persistentVolumeClaim") for volume in volumes.values()]
    assert {claim["claimName"] for claim in claims if claim} <= made | CLAIMS_OF_THE_USER


@pytest.mark.parametrize("name", NAMES)
def test_the_programs_take_their_settings(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each program accepts its environment, which has the effect that the example describes."""
    (tmp_path / "VibeVoice-Realtime-0.5B").mkdir()
    found: dict[str, Settings | LaunchSettings] = {}
    for document in of_kind(name, "Deployment"):
        [container] = document["spec"]["template"]["spec"]["containers"]
        part = component(document)
        known = {name for _, names in PROGRAMS[part] for name in names} | {"HF_HUB_OFFLINE"}
        assert {entry["name"] for entry in container["env"]} <= known
        with monkeypatch.context() as patch:
            for variable, value in environment(container).items():
                patch.setenv(variable, str(tmp_path) if value == "/models" else value)
            found[part] = LaunchSettings() if part == "engine" else Settings()
    kinds = {part: s.asr_api for part, s in found.items() if isinstance(s, Settings)}
    if name == "light.yaml":
        assert kinds == {"proxy": "off"} and isinstance(proxy := found["proxy"], Settings)
        assert (proxy.light, proxy.tts_model_type, proxy.light_workers) == ("on", "auto", 2)
    elif name == "gpu.yaml":
        assert kinds == {"proxy": "chat"} and "engine" in found
    else:
        assert kinds == {"proxy": "chat", "speech": "off"} and "engine" in found
        assert isinstance(proxy := found["proxy"], Settings) and proxy.speaker_enrollment
        assert isinstance(speech := found["speech"], Settings) and speech.voice_uploads
        assert [card.name for card in speech.speech_models] == ["vibevoice-realtime-0.5b"]


@pytest.mark.parametrize("name", ["gpu.yaml", "full.yaml"])
def test_a_section_fits_a_card_with_24_gb(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the smallest card of the guide, an L4, the engine's context has room for a recording that
    the proxies send in one section."""
    minutes = seconds = 0.0
    for document in of_kind(name, "Deployment"):
        [container] = document["spec"]["template"]["spec"]["containers"]
        part = component(document)
        with monkeypatch.context() as patch:
            for variable, value in environment(container).items():
                if variable != "TTS_MODEL_TYPE":  # its folder does not exist here
                    patch.setenv(variable, value)
            if part == "engine":
                planner = Planner(
                    model_sizes(PUBLISHED), Card.of(22.49), LaunchSettings(), PluginSettings()
                )
                minutes = planner.plan().minutes
            elif part == "proxy":
                seconds = Settings().max_section_seconds
    assert minutes * 60 >= seconds > 0


@pytest.mark.parametrize("document", [d for d in PODS if "prepare" not in str(d.id)])
def test_pods_have_the_time_to_stop_that_their_programs_take(document: dict[str, Any]) -> None:
    """Requests in flight can finish before Kubernetes kills the pod."""
    pod = document["spec"]["template"]["spec"]
    [container] = pod["containers"]
    drain = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    env = environment(container)
    if component(document) == "engine":
        own = int(env["VIBEVOICE_SHUTDOWN_TIMEOUT"]) + supervise._STOP_SECONDS
        own += 2 * supervise._REST_SECONDS
    else:
        default = str(Settings.model_fields["shutdown_grace"].default)
        own = int(env.get("VIBEVOICE_SHUTDOWN_GRACE", default)) + 2 * END_SECONDS
    assert pod["terminationGracePeriodSeconds"] >= drain + own


@pytest.mark.parametrize("document", [d for d in PODS if "prepare" not in str(d.id)])
def test_probes_ask_for_routes_that_are_there(document: dict[str, Any]) -> None:
    """Probes use existing routes. The engine's is vLLM's /health, which every test of an engine
    waits for."""
    [container] = document["spec"]["template"]["spec"]["containers"]
    probes = [probe for key, probe in container.items() if key.endswith("Probe")]
    ports = {port["name"] for port in container["ports"]}
    paths = {probe["httpGet"]["path"] for probe in probes}
    assert {probe["httpGet"]["port"] for probe in probes} == ports == {"http"}
    if component(document) == "engine":
        assert paths == {"/health"}
    else:
        assert paths <= create_app(Settings(asr_api="off")).openapi()["paths"].keys()
    startup = container.get("startupProbe")
    if component(document) == "proxy" and environment(container)["ASR_API"] == "chat":
        assert startup is None, "a proxy answers while its engine loads"
    else:
        assert startup["periodSeconds"] * startup["failureThreshold"] == 1800


@pytest.mark.parametrize("name", NAMES)
def test_every_reference_is_there(name: str) -> None:
    """Selectors match pods and their ports; autoscalers and routes refer to existing resources."""
    pods = [document["spec"]["template"] for document in of_kind(name, "Deployment")]
    deployments = {document["metadata"]["name"] for document in of_kind(name, "Deployment")}
    services = {document["metadata"]["name"] for document in of_kind(name, "Service")}

    def selected(labels: dict[str, str]) -> list[dict[str, Any]]:
        return [pod for pod in pods if labels.items() <= pod["metadata"]["labels"].items()]

    for document in DOCUMENTS[name]:
        spec = document.get("spec", {})
        match document["kind"]:
            case "Service":
                [pod] = selected(spec["selector"])
                [container] = pod["spec"]["containers"]
                assert spec["ports"][0]["targetPort"] == container["ports"][0]["name"]
                assert spec["ports"][0]["port"] == container["ports"][0]["containerPort"]
            case "PodDisruptionBudget":
                assert len(selected(spec["selector"]["matchLabels"])) == 1
            case "NetworkPolicy":
                assert len(selected(spec["podSelector"]["matchLabels"])) == 1
                rules = [*spec["ingress"], *spec["egress"]]
                for peer in [p for r in rules for p in [*r.get("from", []), *r.get("to", [])]]:
                    if "podSelector" in peer:
                        assert selected(peer["podSelector"]["matchLabels"])
            case "HorizontalPodAutoscaler":
                assert spec["scaleTargetRef"]["name"] in deployments
                [target] = [
                    d
                    for d in of_kind(name, "Deployment")
                    if d["metadata"]["name"] == spec["scaleTargetRef"]["name"]
                ]
                assert "replicas" not in target["spec"]
            case "Ingress":
                for path in spec["rules"][0]["http"]["paths"]:
                    assert path["backend"]["service"]["name"] in services
            case "PodMonitor":
                assert len(selected(spec["selector"]["matchLabels"])) == len(pods)
            case _:
                pass


def test_pods_scale_by_metrics_that_the_adapter_makes() -> None:
    """The autoscalers' metrics are those that prometheus-adapter is configured to serve."""
    file = ROOT / "deploy" / "prometheus-adapter-values.yaml"
    rules = yaml.safe_load(file.read_text())["rules"]["custom"]
    made = {rule["name"]["as"] for rule in rules}
    asked = {
        metric["pods"]["metric"]["name"]
        for scaler in of_kind("full.yaml", "HorizontalPodAutoscaler")
        for metric in scaler["spec"]["metrics"]
        if metric["type"] == "Pods"
    }
    assert asked == made


def test_alerts_are_those_of_the_compose_file() -> None:
    """The alerts are the same, and the pods' `job` label matches their queries."""
    [rule] = of_kind("full.yaml", "PrometheusRule")
    file = ROOT / "docker" / "monitoring" / "alerts.yml"
    assert rule["spec"] == yaml.safe_load(file.read_text())
    [monitor] = of_kind("full.yaml", "PodMonitor")
    jobs = {
        document["spec"]["template"]["metadata"]["labels"][monitor["spec"]["jobLabel"]]
        for document in of_kind("full.yaml", "Deployment")
    }
    assert jobs == {"engine", "proxy", "speech"}


def test_engines_wait_for_the_job_that_prepares_the_model(tmp_path: Path) -> None:
    """The init container waits until the job is done. Both commands run here, with the embedded
    checkpoint instead of the hub's and a folder instead of the volume."""
    [job] = of_kind("gpu.yaml", "Job")
    [prepare] = job["spec"]["template"]["spec"]["containers"]
    [engine] = [d for d in of_kind("gpu.yaml", "Deployment") if component(d) == "engine"]
    [init] = engine["spec"]["template"]["spec"]["initContainers"]

    def local(words: list[str]) -> list[str]:
        """The arguments of a command, with paths of this machine."""
        changes = {
            "python3": sys.executable,
            "/models": str(tmp_path),
            "microsoft/VibeVoice-ASR": str(ROOT / "models" / "tiny-asr"),
            "sleep 10": "sleep 0.2",
        }
        for old, new in changes.items():
            words = [word.replace(old, new) for word in words]
        return words

    with subprocess.Popen(
        local(init["command"]), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as waiting:
        try:
            assert waiting.stdout is not None
            assert "is not a folder" in waiting.stdout.readline()
            command = local([*prepare["command"], *prepare["args"]])
            subprocess.run(command, check=True, capture_output=True)
            assert waiting.wait(60) == 0
            assert "is ready to be served" in waiting.stdout.read()
        finally:
            waiting.kill()
    assert (tmp_path / "VibeVoice-ASR" / "config.json").exists()
