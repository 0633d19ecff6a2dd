"""The Helm chart: the effect of values, and which ones it rejects."""

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripts.helm import find_helm
from scripts.stack import ROOT
from scripts.write_chart import CHART, FIXED, PROGRAMS, described_values, render

from vibevoice_proxy.settings_table import environment_name

EXAMPLES = sorted((CHART / "values").iterdir())
SECRETS = {environment_name(n) for n in ("api_keys", "asr_api_key", "translate_api_key")}


def helm(*arguments: str | Path) -> str:
    """Run Helm and return its output."""
    command = [find_helm(), *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def rendered(*values: str, flag: str = "--set") -> dict[tuple[str, str], dict[str, Any]]:
    """(kind, name without the release) → manifest, with `values` passed by `flag`."""
    text = render(*(part for value in values for part in (flag, value)))
    documents = [document for document in yaml.safe_load_all(text) if document]
    return {
        (document["kind"], document["metadata"]["name"].removeprefix("vibevoice-")): document
        for document in documents
    }


def pod_of(manifests: dict[tuple[str, str], dict[str, Any]], part: str) -> dict[str, Any]:
    return manifests["Deployment", part]["spec"]["template"]["spec"]


def environment(manifests: dict[tuple[str, str], dict[str, Any]], part: str) -> dict[str, str]:
    """The environment variables of a part's container."""
    [container] = pod_of(manifests, part)["containers"]
    return {entry["name"]: entry.get("value", "") for entry in container["env"]}


def test_the_chart_has_the_projects_version() -> None:
    """The images are tagged with the project's version."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["version"] == chart["appVersion"] == project["version"]


@pytest.mark.parametrize("values", EXAMPLES, ids=lambda path: path.stem)
def test_helm_finds_no_fault(values: Path) -> None:
    """`helm lint` and a dry-run installation succeed, and the notes contain the address."""
    helm("lint", "--strict", CHART, "--values", values)
    printed = helm(
        "install", "speak", CHART, "--dry-run=client", "--namespace", "n", "--values", values
    )
    notes = printed.split("\nNOTES:\n")[1]
    assert "http://speak-vibevoice-proxy.n:8899/v1" in notes


def test_a_package_holds_all_that_the_chart_needs(tmp_path: Path) -> None:
    """Alerts and dashboard are links in the repository, and files in the package."""
    helm("package", CHART, "--destination", tmp_path)
    [package] = tmp_path.iterdir()
    full = ("--values", CHART / "values" / "full.yaml")
    assert helm("template", "vibevoice", package, *full) == helm(
        "template", "vibevoice", CHART, *full
    )


def test_every_value_is_described() -> None:
    """Every value has a comment in values.yaml; `resources` and `settings` are described as a
    whole."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def leaves(value: Any, path: str = "") -> list[str]:
        whole = path.rpartition(".")[2] in ("resources", "settings")
        if isinstance(value, dict) and value and not whole:
            return [leaf for key, inner in value.items() for leaf in leaves(inner, f"{path}.{key}")]
        return [path.lstrip(".")]

    assert set(leaves(values)) == set(described_values())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("proxy.settings.VIBEVOICE_MAX_QEUE=3", "'VIBEVOICE_MAX_QEUE' not allowed"),
        ("proxy.settings.VIBEVOICE_MAX_QUEUE=-1", "minimum: got -1, want 0"),
        ("proxy.settings.VIBEVOICE_LIGHT=false", "got boolean, want string"),
        ("engine.settings.BATCH_SIZE=none", "got string, want integer"),
        ("engine.replica=2", "'replica' not allowed"),
        ("pullPolicy=Sometimes", "value must be one of"),
        ("ingress.enabled=true", "set auth.existingSecret to a secret with API keys"),
        ("auth.existingSecret=x,monitoring.podMonitor=true", "set auth.metricsKey to its name"),
        ("proxy.enabled=false", "networkPolicy.clients must list the peers"),
        ("auth.existingSecret=x,httpRoute.enabled=true", "httpRoute.parentRefs is needed"),
    ],
)
def test_values_that_cannot_work_are_refused(value: str, message: str) -> None:
    """Helm reports the reason."""
    with pytest.raises(subprocess.CalledProcessError) as refused:
        rendered(value)
    assert message in refused.value.stderr


@pytest.mark.parametrize("part", PROGRAMS)
def test_secrets_and_what_the_images_fix_are_no_settings(part: str) -> None:
    """Values are stored in the release, so they must not contain keys."""
    known = {name for _, names in PROGRAMS[part] for name in names}
    for name in (FIXED | SECRETS) & known:
        with pytest.raises(subprocess.CalledProcessError) as refused:
            rendered(f"{part}.settings.{name}=x")
        assert f"'{name}' not allowed" in refused.value.stderr


def test_numbers_arrive_as_they_were_written() -> None:
    """Helm parses numbers as floats and would print them with an exponent."""
    made = rendered(
        "proxy.settings.VIBEVOICE_MAX_UPLOAD_BYTES=2147483648",
        "proxy.settings.VIBEVOICE_QUEUE_TIMEOUT=0.5",
        "proxy.settings.VIBEVOICE_OPEN_LISTINGS=false",
        "engine.settings.VIBEVOICE_MAX_MODEL_LEN=-1",
        flag="--set-json",
    )
    proxy = environment(made, "proxy")
    assert proxy["VIBEVOICE_MAX_UPLOAD_BYTES"] == "2147483648"
    assert proxy["VIBEVOICE_QUEUE_TIMEOUT"] == "0.5"
    assert proxy["VIBEVOICE_OPEN_LISTINGS"] == "false"
    assert environment(made, "engine")["VIBEVOICE_MAX_MODEL_LEN"] == "-1"


def test_the_light_recognizer_beside_an_engine_does_not_wait_for_it() -> None:
    """/health returns 503 while the engine loads, which would keep the proxy out of its service."""
    made = rendered("proxy.settings.VIBEVOICE_LIGHT=on")
    assert environment(made, "proxy")["ASR_API"] == "chat"
    [container] = pod_of(made, "proxy")["containers"]
    assert "startupProbe" not in container
    [alone] = pod_of(rendered("engine.enabled=false"), "proxy")["containers"]
    assert alone["startupProbe"]["httpGet"]["path"] == "/health"


def test_an_engine_elsewhere_is_taken() -> None:
    """A setting overrides the chart, and the policy allows egress to the listed peers."""
    url = "https://asr.example.com"
    rule = "networkPolicy.egress[0].to[0].ipBlock.cidr=192.0.2.0/24"
    made = rendered("engine.enabled=false", f"proxy.settings.ASR_BASE_URL={url}", rule)
    assert environment(made, "proxy")["ASR_BASE_URL"] == url
    assert environment(made, "proxy")["ASR_API"] == "chat"
    assert ("PersistentVolumeClaim", "models") not in made
    egress = made["NetworkPolicy", "proxy"]["spec"]["egress"]
    assert {"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]} in egress


def test_engines_run_alone() -> None:
    """Engines without proxies, behind an existing router such as LiteLLM, accept only that
    router."""
    peer = "networkPolicy.clients[0].podSelector.matchLabels.app=litellm"
    made = rendered("proxy.enabled=false", peer)
    assert {name for kind, name in made if kind == "Deployment"} == {"engine"}
    [rule] = made["NetworkPolicy", "engine"]["spec"]["ingress"]
    assert rule["from"][0] == {"podSelector": {"matchLabels": {"app": "litellm"}}}
    alone = ("--set", "proxy.enabled=false", "--set", peer)
    printed = helm("install", "asr", CHART, "--dry-run=client", "--namespace", "n", *alone)
    assert printed.split("\nNOTES:\n")[1].startswith("Engine:        http://asr-vibevoice-engine.n")
    assert "port-forward" not in printed and "kind: Pod\n" not in printed


def test_pods_take_further_fields() -> None:
    """Node selectors, runtime class, registry, pull secrets, arguments and environment reach the
    pods."""
    made = rendered(
        "registry=registry.example.com/speech/",
        "tag=1.2.3",
        "imagePullSecrets[0].name=registry",
        "engine.pod.runtimeClassName=nvidia",
        "engine.pod.nodeSelector.gpu=l40s",
        "engine.vllmArgs={--api-server-count,2}",
        "engine.extraEnv[0].name=OMP_NUM_THREADS,engine.extraEnv[0].value=q4",
    )
    engine = pod_of(made, "engine")
    assert engine["runtimeClassName"] == "nvidia" and engine["nodeSelector"] == {"gpu": "l40s"}
    assert engine["imagePullSecrets"] == [{"name": "registry"}]
    [container] = engine["containers"]
    assert container["image"] == "registry.example.com/speech/vibevoice-engine:1.2.3"
    assert container["args"] == ["--", "--api-server-count", "2"]
    assert environment(made, "engine")["OMP_NUM_THREADS"] == "q4"
    assert "runtimeClassName" not in pod_of(made, "proxy")


def test_another_image_or_checkpoint_is_another_job() -> None:
    """Jobs are immutable, so an upgrade that kept the name would fail."""
    changes = ["tag=a", "tag=b", "models.prepare.source=me/mine", "models.prepare.revision=v2"]
    jobs = {name for change in changes for kind, name in rendered(change) if kind == "Job"}
    assert len(jobs) == len(changes)
    assert rendered("engine.replicas=1").keys() == rendered("engine.replicas=3").keys()


def test_who_may_reach_the_api_can_be_named() -> None:
    """Only the listed peers, Prometheus and the chart's own test may reach the API."""
    peer = "networkPolicy.clients[0].namespaceSelector.matchLabels.name=web"
    [rule] = rendered(peer)["NetworkPolicy", "proxy"]["spec"]["ingress"]
    selectors = [next(iter(peer.values()))["matchLabels"] for peer in rule["from"]]
    assert selectors[0] == {"name": "web"}
    assert selectors[1]["app.kubernetes.io/component"] == "test"
    assert selectors[2] == {"kubernetes.io/metadata.name": "monitoring"}
    assert len(selectors) == 3


def test_a_gateway_routes_speech_to_its_pods() -> None:
    """It routes like the Ingress, with timeouts long enough for an hour of audio."""
    made = rendered(
        "auth.existingSecret=x",
        "httpRoute.enabled=true",
        "httpRoute.parentRefs[0].name=gateway",
        "speech.enabled=true",
    )
    speech, rest = made["HTTPRoute", "api"]["spec"]["rules"]
    paths = [match["path"]["value"] for match in speech["matches"]]
    names = ("speech", "voices", "models")
    assert paths == [f"{prefix}/audio/{name}" for prefix in ("/v1", "") for name in names]
    assert [rule["backendRefs"][0]["name"] for rule in (speech, rest)] == [
        "vibevoice-speech",
        "vibevoice-proxy",
    ]
    assert {rule["timeouts"]["request"] for rule in (speech, rest)} == {"3700s"}
    assert environment(made, "proxy")["TTS_MODEL_TYPE"] == "auto"  # the voice of calls
