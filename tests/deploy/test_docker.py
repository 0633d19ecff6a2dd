"""The compose files, the env files and the Dockerfiles, without a Docker engine."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripts.stack import ROOT

from vibevoice_proxy.settings import Settings
from vibevoice_proxy.settings_table import describe_settings
from vibevoice_vllm.memory_plan import GIB, Card
from vibevoice_vllm.model_sizes import PUBLISHED, model_sizes
from vibevoice_vllm.planner import Planner
from vibevoice_vllm.settings import (
    LaunchSettings,
    PluginSettings,
    describe_launch_settings,
    describe_plugin_settings,
)

DOCKER = ROOT / "docker"
BIN = Path(sys.executable).parent
COMPOSE = sorted(path.name for path in DOCKER.glob("docker-compose*.yml"))
ENV = sorted(path.name for path in (DOCKER / "env").glob("*.env"))
SECRETS = {"GRAFANA_PASSWORD": "x", "LITELLM_MASTER_KEY": "sk-x"}
"""Variables that a compose file requires."""
OURS = re.compile(r"vibevoice-(engine|engine-cpu|proxy|speech|litellm):")
USE = re.compile(r"^#   (.*docker compose --env-file (\S+) -f (\S+) .*)$", re.M)
"""The usage line of an env file."""


def config(compose: str, env: str = "", **shell: str) -> dict[str, Any]:
    """Services by name, as Docker Compose parses the file with the shell's variables."""
    return read(compose, env, **shell)["services"]


def project(compose: str) -> str:
    """The project's name; files with the same name share containers, volumes and networks."""
    return read(compose)["name"]


@cache
def read(compose: str, env: str = "", **shell: str) -> dict[str, Any]:
    """A compose file as parsed by Docker Compose."""
    options = ["--env-file", str(DOCKER / "env" / env)] if env else []
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **SECRETS, **shell}
    command = [BIN / "docker-compose", *options, "-f", DOCKER / compose, "config", "--format=json"]
    found = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert not found.stderr, found.stderr
    return json.loads(found.stdout)


@pytest.mark.parametrize("compose", COMPOSE)
def test_compose_files_are_valid(compose: str) -> None:
    """Docker Compose reports no errors or warnings."""
    assert config(compose)


@pytest.mark.parametrize("compose", COMPOSE)
def test_nothing_is_open_to_the_network(compose: str) -> None:
    """Ports are only published on this machine, and the engine's port is not published at all."""
    ports = [
        (name, port.get("host_ip"))
        for name, service in config(compose).items()
        for port in service.get("ports") or []
    ]
    assert ports
    assert {host for _, host in ports} == {"127.0.0.1"}
    assert not [name for name, _ in ports if name.startswith("engine")]


@pytest.mark.parametrize("compose", COMPOSE)
def test_containers_may_do_little(compose: str) -> None:
    """Our containers run without capabilities on a read-only root; models are mounted read-only."""
    services = {n: s for n, s in config(compose).items() if OURS.match(s["image"])}
    assert services
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        models = [v for v in service.get("volumes", []) if v["target"] == "/models"]
        assert all(volume["read_only"] for volume in models), name


@pytest.mark.parametrize("compose", COMPOSE)
def test_logs_are_bounded(compose: str) -> None:
    """Every long-running container has a limit on its log."""
    for name, service in config(compose).items():
        assert service["logging"]["options"]["max-size"] == "10m", name


@pytest.mark.parametrize("added", ["monitoring", "with-openwebui"])
def test_what_is_added_to_the_default_is_the_same_project(added: str) -> None:
    """It shares the existing engine and volumes; a second engine would need the same card."""
    assert project(f"docker-compose.{added}.yml") == project("docker-compose.yml") == "vibevoice"


@pytest.mark.parametrize("compose", COMPOSE)
def test_containers_are_given_time_to_stop(compose: str) -> None:
    """Containers get more time than the launcher and the proxy take to stop."""
    for name, service in config(compose).items():
        if OURS.match(service["image"]) and not service["image"].startswith("vibevoice-litellm"):
            seconds = int(service["stop_grace_period"].removesuffix("s"))
            assert seconds >= (40 if name.startswith("engine") else 45), name


@pytest.mark.parametrize("compose", COMPOSE)
def test_images_have_a_version(compose: str) -> None:
    """Every image has a pinned version."""
    for service in config(compose).values():
        assert re.search(r":v?\d[\w.-]+$", service["image"]), service["image"]


@pytest.mark.parametrize("compose", COMPOSE)
def test_engines_reach_nothing(compose: str) -> None:
    """Engines are on a network without internet access; the proxy is on both networks."""
    for name, service in config(compose).items():
        if name.startswith("engine"):
            assert list(service["networks"]) == ["engine"]


def test_two_engines_have_a_gpu_each() -> None:
    """Behind LiteLLM, every engine has its own GPU and its own proxy."""
    services = config("docker-compose.litellm.yml")
    gpus = [
        services[name]["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
        for name in ("engine-1", "engine-2")
    ]
    assert gpus == [["0"], ["1"]]
    urls = [services[name]["environment"]["ASR_BASE_URL"] for name in ("proxy-1", "proxy-2")]
    assert urls == ["http://engine-1:8006", "http://engine-2:8006"]


FIXED = {
    "engine": {
        **dict.fromkeys(("MODEL_DIR", "ASR_HOST", "ASR_PORT"), "set by the image"),
        **dict.fromkeys(("VIBEVOICE_PYTHON", "VIBEVOICE_CONDA_ENV"), "the image has one Python"),
        "VIBEVOICE_GPU": "the container sees only the GPU that is reserved for it",
        "VIBEVOICE_WAIT_READY_SECS": "the health check waits",
        "VIBEVOICE_PLUGIN": "Microsoft's plugin is not in the image",
        "VIBEVOICE_FFMPEG_MAX_CONCURRENCY": "read by Microsoft's plugin",
    },
    "proxy": {
        **dict.fromkeys(("API_HOST", "API_PORT"), "set by the image"),
        "ASR_PORT": "the engine is another host",
    },
}
"""Settings that users cannot set, and why."""


@pytest.mark.parametrize("service", ["engine", "proxy"])
def test_every_setting_reaches_its_container(service: str) -> None:
    """Every setting is passed on or fixed for a listed reason."""
    services = yaml.safe_load((DOCKER / "services.yml").read_text())["services"]
    passed = {entry.partition("=")[0] for entry in services[service]["environment"]}
    settings = {
        "engine": {name for _, name, _, _ in describe_launch_settings()}
        | {name for name, _, _ in describe_plugin_settings()},
        "proxy": {name for name, _, _ in describe_settings()},
    }
    not_ours = {"HF_HUB_OFFLINE", "PYTORCH_ALLOC_CONF", "VLLM_FLOAT32_MATMUL_PRECISION"}
    assert passed - not_ours == settings[service] - FIXED[service].keys()


@pytest.mark.parametrize("env", ENV)
def test_env_files_reach_the_programs(env: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the compose file that it names, every variable reaches a container and is accepted."""
    text = (DOCKER / "env" / env).read_text()
    use = USE.search(text)
    assert use and use[2] == f"docker/env/{env}"
    lines = dict(
        line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#")
    )
    found: set[str] = set()
    for name, service in config(Path(use[3]).name, env).items():
        environ = {k: v for k, v in (service.get("environment") or {}).items() if v is not None}
        found |= {key for key, value in lines.items() if environ.get(key) == value}
        with monkeypatch.context() as container:
            for key, value in (environ | {"MODEL_DIR": "", "TTS_MODEL_TYPE": "off"}).items():
                container.setenv(key, value)
            if name == "engine":
                LaunchSettings()
                if service["command"] == ["--", *lines.get("VLLM_ARGS", "").split()]:
                    found |= {"VLLM_ARGS"} & set(lines)
            if name == "proxy":
                Settings()
    assert found == set(lines)


@pytest.mark.parametrize("speech", ["", "VibeVoice-Realtime-0.5B", "VibeVoice-1.5B"])
@pytest.mark.parametrize("env", ENV)
def test_env_files_start_without_speech_models(
    env: str, speech: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the guide's commands, MODEL_DIR has only the ASR model: the proxy speaks with hibari
    and espeak. A speech model next to it is used."""
    (tmp_path / "VibeVoice-ASR").mkdir()
    (tmp_path / speech).mkdir(exist_ok=True)
    use = USE.search((DOCKER / "env" / env).read_text())
    assert use
    environ = config(Path(use[3]).name, env)["proxy"]["environment"]
    for key, value in (environ | {"MODEL_DIR": str(tmp_path)}).items():
        if value is not None:
            monkeypatch.setenv(key, value)
    chosen = [card.folder for card in Settings().speech_models]
    if "stt-only" in use[3]:
        assert not chosen
    elif speech:
        assert chosen == [speech]
    else:
        assert chosen == ["", ""]


SPEECH = {"0.5b": (1.9, 0.2), "1.5b": (5.1, 0.3)}
"""GiB for the weights of a speech model and for the cache of a request (docs/guides/docker.md)."""
SPEAKS = {
    "gpu-24gb.env": "0.5b",
    "gpu-8gb.env": "1.5b",
    "gpu-6gb.env": "0.5b",
    "gpu-4gb.env": "0.5b",
}
"""The speech model for which each env file leaves memory."""
PLANNED = {
    "gpu-24gb.env": {"3090": 24, "L4": 22.49},
    "gpu-24gb-stt.env": {"3090": 24, "L4": 22.49},
    "gpu-16gb.env": {"4080": 15.99},
    "gpu-12gb.env": {"3060": 12},
    "gpu-8gb.env": {"3070": 8},
    "gpu-6gb.env": {"3050": 6},
    "gpu-4gb.env": {"T400": 4},
}
"""The cards of each env file, with their memory in GiB as shown by nvidia-smi."""


def lines_of(env: str) -> dict[str, str]:
    """Variables of an env file."""
    lines = (DOCKER / "env" / env).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def speech_gib(env: str) -> float:
    """GiB for the speech model of an env file: weights, cache (one of twenty or more layers exists
    twice while it grows), one step, and CUDA."""
    weights, cache = SPEECH[SPEAKS[env]]
    return weights + 1.05 * int(lines_of(env)["VIBEVOICE_TTS_BATCH_SIZE"]) * cache + 0.3 + 0.5


def test_every_env_file_is_planned() -> None:
    """A new env file must list its cards here."""
    assert sorted(PLANNED) == ENV


@pytest.mark.parametrize(
    ("env", "card"), [(env, card) for env, cards in PLANNED.items() for card in cards]
)
def test_env_files_fit_their_cards(env: str, card: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's plan has a margin of a quarter of a GiB, and the speech model fits into its
    share."""
    gib = PLANNED[env][card]
    name = re.search(r"^#   .*-f docker/(\S+) ", (DOCKER / "env" / env).read_text(), re.M)
    assert name
    services = config(name[1], env)
    if "engine" not in services:
        assert speech_gib(env) <= Card.of(gib).total / GIB - 0.25
        return
    environ = services["engine"]["environment"]
    for key, value in environ.items():
        if value is not None:
            monkeypatch.setenv(key, value)
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    settings = LaunchSettings(model_dir="/models")
    plan = Planner(model_sizes(PUBLISHED), Card.of(gib), settings, PluginSettings()).plan()
    print(f"{env} on {card}: {plan.margin / GIB:.2f} GiB of margin\n{plan}")
    assert plan.margin >= 0.25 * GIB - plan.token
    assert plan.minutes >= 50
    work = plan.work + plan.graphs + plan.overhead
    sizes = [f"{size / GIB:.1f} GiB" for size in (plan.weights, work, plan.cache, plan.margin)]
    row = f"| {' | '.join(sizes[:3])} | {plan.context} | {sizes[3]} |"
    assert row in (ROOT / "docs" / "guides" / "docker.md").read_text()
    shared = services["proxy"]["image"].startswith("vibevoice-speech")
    assert shared == (settings.gpu_memory_reserved > 0)
    if shared:
        assert speech_gib(env) <= settings.gpu_memory_reserved


def test_the_engine_leaves_the_speech_models_their_part() -> None:
    """If both share a card by default, the engine reserves memory, whichever of them starts
    first."""
    for compose in COMPOSE:
        services = config(compose)
        engines = [service for name, service in services.items() if name.startswith("engine")]
        speaks = any(s["image"].startswith("vibevoice-speech") for s in services.values())
        for engine in engines:
            reserved = float(engine["environment"].get("VIBEVOICE_GPU_MEMORY_RESERVED") or 0)
            assert (reserved > 0) == speaks, compose


@pytest.mark.parametrize("env", ["gpu-4gb.env", "gpu-6gb.env", "gpu-8gb.env"])
def test_small_cards_need_the_proxy_alone(env: str) -> None:
    """The proxy transcribes with its light recognizer; no engine or other server is started."""
    compose = USE.search((DOCKER / "env" / env).read_text())
    assert compose
    services = config(Path(compose[3]).name, env)
    assert list(services) == ["proxy"]
    environ = services["proxy"]["environment"]
    assert (environ["ASR_API"], environ["VIBEVOICE_LIGHT"]) == ("off", "on")


def test_small_cards_may_use_another_server() -> None:
    """The variables that docs/guides/docker.md names reach the proxy."""
    chosen = {"VIBEVOICE_LIGHT": "off", "ASR_API": "transcriptions", "ASR_BASE_URL": "http://h:1"}
    (proxy,) = config("docker-compose.light-stt.yml", "gpu-6gb.env", **chosen).values()
    assert chosen.items() <= proxy["environment"].items()


def test_open_webui_is_set_up_as_documented() -> None:
    """Its container has the settings of docs/guides/open-webui.md and the tested release."""
    page = (ROOT / "docs" / "guides" / "open-webui.md").read_text()
    documented = dict(re.findall(r"^([A-Z_]+)=(\S+)$", page, re.M))
    assert documented
    service = config("docker-compose.with-openwebui.yml")["open-webui"]
    translated = {"http://127.0.0.1:8899/v1": "http://proxy:8899/v1", "YOUR_KEY": "none"}
    expected = {key: translated.get(value, value) for key, value in documented.items()}
    assert expected.items() <= service["environment"].items()
    version = re.search(
        r"^version=(\S+)$", (ROOT / "scripts/setup_open_webui.sh").read_text(), re.M
    )
    assert version and service["image"].endswith(f":v{version[1]}-slim")
    assert set(re.findall(r"Open WebUI (\d[\d.]+\d)", page)) == {version[1]}


@pytest.mark.parametrize(
    "stack", [f"docker-compose.{name}.yml" for name in ("cpu", "dgx-spark", "light-stt")]
)
def test_open_webui_can_be_added_to_other_files(stack: str) -> None:
    """The file that OPEN_WEBUI_STACK names is started instead of the default."""
    services = config("docker-compose.with-openwebui.yml", OPEN_WEBUI_STACK=stack)
    added = services.pop("open-webui")
    assert services.keys() == config(stack).keys()
    assert services["proxy"]["image"] == config(stack)["proxy"]["image"]
    assert added["depends_on"].keys() == {"proxy"}


@pytest.mark.parametrize(
    ("shell", "key"),
    [
        pytest.param({}, "none", id="no keys"),
        pytest.param({"VIBEVOICE_API_KEYS": "a"}, "a", id="one key"),
        pytest.param({"VIBEVOICE_API_KEYS": "a,b", "OPEN_WEBUI_API_KEY": "b"}, "b", id="several"),
    ],
)
def test_open_webui_has_a_key_of_the_proxy(shell: dict[str, str], key: str) -> None:
    """A single key is used without further settings; one of several must be named."""
    environ = config("docker-compose.with-openwebui.yml", **shell)["open-webui"]["environment"]
    keys = {name: value for name, value in environ.items() if name.endswith("OPENAI_API_KEY")}
    del keys["OPENAI_API_KEY"]
    assert len(keys) == 3
    assert set(keys.values()) == {key}


@pytest.mark.parametrize(
    ("shell", "key"),
    [
        pytest.param({}, "none", id="no keys"),
        pytest.param({"VIBEVOICE_API_KEYS": "a"}, "a", id="one key"),
        pytest.param({"VIBEVOICE_API_KEYS": "a,b", "PROXY_KEY": "b"}, "b", id="several"),
    ],
)
def test_litellm_has_a_key_of_the_proxies(shell: dict[str, str], key: str) -> None:
    """It sends this key to the proxies, and none to the engines, which do not check it."""
    services = config("docker-compose.litellm.yml", **shell)
    assert services["litellm"]["environment"]["PROXY_KEY"] == key
    for name in ("proxy-1", "proxy-2"):
        assert services[name]["environment"].get("VIBEVOICE_API_KEYS") == shell.get(
            "VIBEVOICE_API_KEYS"
        )
    for model in yaml.safe_load((DOCKER / "litellm.yaml").read_text())["model_list"]:
        params = model["litellm_params"]
        to_engine = ":8006/" in params["api_base"]
        assert params["api_key"] == ("none" if to_engine else "os.environ/PROXY_KEY")


def test_variables_of_open_webui_are_documented() -> None:
    """The guide lists every variable of its Compose file."""
    text = (DOCKER / "docker-compose.with-openwebui.yml").read_text()
    names = set(re.findall(r"\$\{(\w+):-", text)) | set(re.findall(r"- ([A-Z_]+)$", text, re.M))
    assert len(names) > 5
    guide = (ROOT / "docs" / "guides" / "docker.md").read_text()
    assert not {name for name in names if f"`{name}`" not in guide}


def test_downloads_stay_beside_the_prepared_model() -> None:
    """Its weights are links to the download, so both are in the mounted folder."""
    prepare = yaml.safe_load((DOCKER / "services.yml").read_text())["services"]["prepare"]
    environment = dict(entry.partition("=")[::2] for entry in prepare["environment"])
    (volume,) = prepare["volumes"]
    assert volume.endswith(":/models")
    assert environment["HF_HOME"].startswith("/models/")


def test_litellm_is_set_up_as_documented() -> None:
    """docker/litellm.yaml differs from litellm/config.yaml only in hosts and keys."""
    ours = yaml.safe_load((DOCKER / "litellm.yaml").read_text())
    documented = yaml.safe_load((ROOT / "litellm" / "config.yaml").read_text())
    models = ours.pop("model_list")
    expected = documented.pop("model_list")
    assert ours == documented
    for model in [*models, *expected]:
        for name in ("api_base", "api_key"):
            model["litellm_params"].pop(name)
    assert [model for model in models if models.count(model) == 2]
    assert all(model in expected for model in models)


@pytest.mark.parametrize("dockerfile", sorted(path.name for path in DOCKER.glob("*.Dockerfile")))
def test_dockerfiles_are_clean(dockerfile: str) -> None:
    """hadolint reports nothing; no image runs as root, and each has a health check."""
    file = DOCKER / dockerfile
    found = subprocess.run([BIN / "hadolint", file], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")
    assert "\nUSER 10001:10001\n" in file.read_text()
    assert "\nHEALTHCHECK " in file.read_text()


@pytest.mark.parametrize("script", sorted(path.name for path in DOCKER.glob("*.sh")))
def test_scripts_are_clean(script: str) -> None:
    """ShellCheck reports nothing."""
    command = [BIN / "shellcheck", DOCKER / script]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_dockerfiles_and_compose_name_the_same_vllm() -> None:
    """The engine's base image has the release that pyproject.toml requires."""
    version = re.search(r'"vllm==([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert version
    for file in ("engine.Dockerfile", "services.yml"):
        assert f"vllm/vllm-openai:v{version[1]}" in (DOCKER / file).read_text()
    cpu = (DOCKER / "docker-compose.cpu.yml").read_text()
    assert f"vllm/vllm-openai-cpu:v{version[1]}" in cpu
