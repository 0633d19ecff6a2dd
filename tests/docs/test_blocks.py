"""Every code block of the documentation is run, or checked here without running it.

Commands are checked for syntax, programs, options, files, settings, and routes.
tests/docs/covered.py lists the blocks that other tests cover or that cannot run here.
"""

import ast
import importlib.util
import json
import re
import subprocess
import textwrap
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from scripts.stack import ROOT
from tests.docs.covered import ELSEWHERE, ILLUSTRATIONS, NOT_RUN
from tests.support.shell import Command, parse
from tests.support.snippets import NODE, Snippet, blocks, pages

from vibevoice_proxy.app import create_app
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.settings_table import describe_settings
from vibevoice_vllm.settings import describe_launch_settings, describe_plugin_settings

BLOCKS = [block for page in pages() for block in blocks(page)]
LANGUAGES = {"bash", "python", "javascript", "json", "yaml", "ini", "text"}
COMMANDS = {
    "vibevoice-engine": "vibevoice_vllm",
    "vibevoice-light-models": "vibevoice_light",
    "vibevoice-live": "vibevoice_live",
    "vibevoice-prepare": "vibevoice_vllm",
    "vibevoice-proxy": "vibevoice_proxy",
    "vibevoice-transcribe": "vibevoice_batch",
}
"""Console scripts of this project, with their packages."""
SYSTEM = {
    *("arecord", "base64", "cd", "curl", "docker", "echo", "git", "head", "helm", "kubectl"),
    *("cp", "hf", "mkdir", "nginx", "open-webui", "openssl", "pip", "pre-commit", "printf", "set"),
    *("source", "ssh", "sudo"),
}
"""System programs, and programs that the page installs."""
CLIENT_VARIABLES = {"VIBEVOICE_BASE_URL", "VIBEVOICE_API_KEY"}
"""Variables read by the batch client and the live client."""
YOURS = {".env", "my-values.yaml"}
"""Files that readers create."""
_PREFIXES = ("VIBEVOICE_", "ASR_", "TTS_", "API_")
_ROUTE = re.compile(r"http://127\.0\.0\.1:8899(/[\w/-]*)?")


def shell_blocks() -> list[Snippet]:
    """The blocks with commands, including those that are also run."""
    return [block for block in BLOCKS if block.language == "bash"]


@cache
def known_settings() -> set[str]:
    names = {name for name, _, _ in (*describe_settings(), *describe_plugin_settings())}
    return names | {name for _, name, _, _ in describe_launch_settings()} | CLIENT_VARIABLES


@cache
def routes() -> list[str]:
    return [*create_app(Settings()).openapi()["paths"], "/v1/realtime"]


def source_of(command: Command) -> tuple[Path, list[Path]] | None:
    """The file that a command of this repository runs, and those that may have its options."""
    name = (
        command.program.removeprefix(".venv/bin/")
        .removeprefix(".venv-litellm/bin/")
        .removeprefix("vibevoice/bin/")
    )
    words = command.arguments
    if name in ("python", "python3") and words[:1] == ("-m",):
        module = words[1]
        if module in ("venv", "pip"):
            return None
        spec = importlib.util.find_spec(module)
        assert spec and spec.origin, module
        file = Path(spec.origin)
        folder = module.partition(".")[0]
        parts = file.parent if folder not in ("bench", "training") else None
        return file, list(parts.glob("*.py")) if parts else [file]
    if name in ("python", "python3"):
        name = words[0]
    if name in COMMANDS:
        spec = importlib.util.find_spec(COMMANDS[name])
        assert spec and spec.origin, name
        return Path(spec.origin), list(Path(spec.origin).parent.glob("*.py"))
    if "/" in name and not name.startswith("/"):
        script = ROOT / name
        assert script.is_file(), name
        packages = re.findall(r"\b(vibevoice_\w+)", script.read_text())
        specs = [importlib.util.find_spec(package) for package in packages]
        folders = {Path(spec.origin).parent for spec in specs if spec and spec.origin}
        return script, [script, *(file for folder in folders for file in folder.glob("*.py"))]
    return None


def check_program(command: Command) -> None:
    """Check that the program exists and has the options used."""
    if command.program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert set(command.arguments) <= set(targets)
        return
    name = command.program.rpartition("/")[2]
    if (source := source_of(command)) is None:
        assert name in {*SYSTEM, "", "litellm", "pytest", "python", "python3"}, command.program
        return
    _, files = source
    text = "".join(file.read_text() for file in files)
    flags = {flag for flag, _, _, _ in describe_launch_settings()}
    for option in command.options:
        assert option in flags or re.search(rf"(?<![\w-]){option}(?![\w-])", text), option


def check_files(command: Command) -> None:
    """Check that the repository's files in a command exist."""
    files = command.values("--config", "--env-file", "--values")
    if command.program.endswith("pip"):
        files += command.values("-r")
    if command.program in ("docker", "kubectl"):
        files += command.values("-f")
    if command.program == "helm":
        files += [word for word in command.arguments if word.startswith("deploy/")]
    if command.program.endswith("pytest"):
        files += [word for word in command.arguments if word.endswith(".py")]
    for file in files:
        assert file in YOURS or (ROOT / file).exists(), file
    if target := command.values("--target"):
        (dockerfile,) = command.values("-f")
        assert f" AS {target[0]}\n" in (ROOT / dockerfile).read_text()


def check_variables(command: Command) -> None:
    """Check that variables are known settings."""
    ours = {name for name in command.variables if name.startswith(_PREFIXES)}
    assert ours <= known_settings()


def check_routes(code: str) -> None:
    """Check that URLs of the proxy match its routes."""
    for path in _ROUTE.findall(code):
        if path and path != "/v1":
            patterns = [re.sub(r"\{\w+\}", "[^/]+", route) for route in routes()]
            assert any(re.fullmatch(pattern, path) for pattern in patterns), path


@pytest.mark.parametrize("block", shell_blocks(), ids=str)
def test_commands(block: Snippet) -> None:
    """All programs, options, files, settings, and routes in commands exist."""
    checked = subprocess.run(["bash", "-n"], input=block.code, text=True, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    found = list(parse(block.code))
    assert found
    for command in found:
        check_program(command)
        check_files(command)
        check_variables(command)
    check_routes(block.code)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("make nothing", id="target"),
        pytest.param("scripts/nothing.sh", id="script"),
        pytest.param("scripts/start_asr_server.sh --nothing 1", id="option of a script"),
        pytest.param(".venv/bin/vibevoice-transcribe a -o b --nothing", id="option of a program"),
        pytest.param("python -m bench.speech --nothing", id="option of a benchmark"),
        pytest.param("unknown-program", id="program"),
        pytest.param("VIBEVOICE_NOTHING=1 make serve", id="setting"),
        pytest.param("docker compose -f docker/nothing.yml up", id="file"),
        pytest.param("curl http://127.0.0.1:8899/v1/audio/nothing", id="route"),
    ],
)
def test_wrong_commands_are_found(code: str) -> None:
    """Each wrong command fails one of the checks."""
    with pytest.raises(AssertionError):
        test_commands(Snippet("page", 1, "bash", code))


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=str)
def test_python(block: Snippet) -> None:
    """Python blocks compile, and their imports exist."""
    for node in ast.walk(ast.parse(block.code)):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            assert all(hasattr(module, name.name) for name in node.names)
        elif isinstance(node, ast.Import):
            assert all(importlib.util.find_spec(name.name) for name in node.names)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "javascript"], ids=str)
def test_javascript(block: Snippet, tmp_path: Path) -> None:
    """The block can be parsed."""
    file = tmp_path / "snippet.mjs"
    file.write_text(block.code)
    subprocess.run([NODE, "--check", str(file)], check=True)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "json"], ids=str)
def test_json(block: Snippet) -> None:
    """The block can be parsed."""
    assert json.loads(block.code)


HELM_VALUES = [b for b in blocks("docs/guides/kubernetes.md") if b.language == "yaml"]


@pytest.mark.parametrize("block", HELM_VALUES, ids=str)
def test_helm_values(block: Snippet) -> None:
    """The values in the guide satisfy the chart's schema."""
    chart = ROOT / "deploy" / "helm" / "vibevoice"
    values = yaml.safe_load((chart / "values.yaml").read_text())
    for part, changes in yaml.safe_load(block.code).items():
        assert set(changes) <= set(values[part])
        values[part] |= changes
    jsonschema.validate(values, json.loads((chart / "values.schema.json").read_text()))


LITELLM_LINES = [b for b in blocks("docs/guides/litellm.md") if b.language == "yaml"]


@pytest.mark.parametrize("block", LITELLM_LINES, ids=str)
def test_another_server_for_litellm(block: Snippet) -> None:
    """The line in the guide can be added to LiteLLM's configuration."""
    text = (ROOT / "litellm" / "config.yaml").read_text()
    models = re.search(r"^model_list:\n.*?(?=^\w)", text, re.M | re.S)
    assert models
    added: Any = yaml.safe_load(models[0] + textwrap.indent(block.code, "  "))
    before: Any = yaml.safe_load(models[0])
    assert added["model_list"][:-1] == before["model_list"]
    group = added["model_list"][-1]["model_name"]
    params = [
        item["litellm_params"] for item in before["model_list"] if item["model_name"] == group
    ]
    assert params[0].keys() <= added["model_list"][-1]["litellm_params"].keys()


def uncovered() -> Iterator[Snippet]:
    """The blocks that need a reason: output without a run, settings, and requests that are not
    sent."""
    outputs = {
        (block.page, block.number + 1) for block in BLOCKS if block.asks_a_server and block.output
    }
    for block in BLOCKS:
        if block.language == "text" and (block.page, block.number) not in outputs:
            yield block
        elif block.language == "ini":
            yield block


def test_commands_are_installed() -> None:
    """Each command is a console script of the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(COMMANDS) <= set(project["scripts"])


def test_nothing_is_skipped_in_silence() -> None:
    """Every block has a language that is checked; the lists contain exactly the blocks that need a
    reason."""
    assert {block.language for block in BLOCKS} <= LANGUAGES
    listed = {**ELSEWHERE, **NOT_RUN, **ILLUSTRATIONS}
    assert len(listed) == len(ELSEWHERE) + len(NOT_RUN) + len(ILLUSTRATIONS)
    ids = {str(block) for block in BLOCKS}
    assert set(listed) <= ids
    assert {str(block) for block in uncovered()} <= set(listed)
    asking = {str(block) for block in BLOCKS if block.asks_a_server}
    assert set(NOT_RUN) <= asking
