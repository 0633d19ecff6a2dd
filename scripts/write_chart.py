"""Writes the files that derive from the Helm chart's values.yaml: the table in its README.md,
values.schema.json, and deploy/kubernetes, which is the chart rendered with each file in values/.
Run by `make settings`.

The schema lists every value and every setting of the programs, with types and limits, so Helm
rejects unknown names and invalid values. It leaves out settings that hold secrets: those belong in
a Kubernetes secret.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic_settings import BaseSettings

from scripts.helm import find_helm
from scripts.stack import ROOT
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.settings_table import describe_settings
from vibevoice_vllm.settings import (
    LaunchSettings,
    PluginSettings,
    describe_launch_settings,
    describe_plugin_settings,
)

CHART = ROOT / "deploy" / "helm" / "vibevoice"
README = CHART / "README.md"
SCHEMA = CHART / "values.schema.json"
MANIFESTS = ROOT / "deploy" / "kubernetes"
RELEASE = "vibevoice"
Program = tuple[type[BaseSettings], list[str]]
"""A settings class and the environment variables of its fields, in the same order."""
_PROXY = (Settings, [name for name, *_ in describe_settings()])
PROGRAMS: dict[str, tuple[Program, ...]] = {
    "engine": (
        (LaunchSettings, [name for _, name, *_ in describe_launch_settings()]),
        (PluginSettings, [name for name, *_ in describe_plugin_settings()]),
    ),
    "proxy": (_PROXY,),
    "speech": (_PROXY,),
}
"""Parts of the chart and the programs that read their `settings`."""
FIXED = {"API_BIND", "API_HOST", "API_PORT", "ASR_HOST", "ASR_PORT", "VIBEVOICE_API_KEYS_FILE"}
"""Settings that the images and templates set themselves."""
_START, _END = "<!-- values, by `make settings` -->\n", "<!-- end -->\n"
_PULL_POLICIES = ["Always", "IfNotPresent", "Never"]


def described_values() -> dict[str, str]:
    """Dotted name → description of every value with a `# --` comment."""
    found: dict[str, str] = {}
    path: list[str] = []
    comment: list[str] = []
    for line in (CHART / "values.yaml").read_text().splitlines():
        if begun := re.match(r" *# -- (.*)", line):
            comment = [begun[1]]
        elif comment and (more := re.match(r" *# (.*)", line)):
            comment.append(more[1])
        elif key := re.match(r"( *)([A-Za-z]\w*):", line):
            path = [*path[: len(key[1]) // 2], key[2]]
            if comment:
                found[".".join(path)] = " ".join(comment)
            comment = []
    return found


def schema() -> str:
    """The text of values.schema.json."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    found = _schema_of(values, "", described_values())
    found["properties"]["pullPolicy"]["enum"] = _PULL_POLICIES
    # Helm adds this if the chart is a dependency of another chart.
    found["properties"]["global"] = {"type": "object"}
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}
    return json.dumps(whole, indent=2) + "\n"


def _schema_of(value: Any, path: str, described: dict[str, str]) -> dict[str, Any]:
    text = {"description": described[path]} if path in described else {}
    part, _, name = path.rpartition(".")
    if name == "settings":
        properties = dict(_settings(PROGRAMS[part]))
        return {**text, "type": "object", "properties": properties, "additionalProperties": False}
    match value:
        case bool():
            return {**text, "type": "boolean"}
        case int():
            return {**text, "type": "integer", "minimum": 0}
        case str():
            return {**text, "type": "string"}
        case list():
            return {**text, "type": "array"}
        case dict() if value and name != "resources":
            properties = {
                key: _schema_of(inner, f"{path}.{key}".lstrip("."), described)
                for key, inner in value.items()
            }
            return {
                **text,
                "type": "object",
                "properties": properties,
                "additionalProperties": False,
            }
        case _:
            return {**text, "type": "object"}


def _settings(programs: tuple[Program, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(environment variable, JSON schema) of every setting that users may set."""
    for program, names in programs:
        properties = program.model_json_schema(by_alias=False)["properties"]
        for name, found in zip(names, properties.values(), strict=True):
            if name in FIXED or "writeOnly" in json.dumps(found):
                continue
            # Users omit an optional setting instead of setting it to null.
            [kept] = [o for o in found.get("anyOf", [found]) if o["type"] != "null"]
            if kept["type"] == "array":
                kept = {"type": "string"}  # items separated by commas
            about = ("title", "description", "default")
            yield name, {key: value for key, value in kept.items() if key not in about}


def readme() -> str:
    """The text of the chart's README.md with the table of values."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    rows = ["| value | default | meaning |", "| --- | --- | --- |"]
    for name, text in described_values().items():
        default = values
        for key in name.split("."):
            default = default[key]
        rows.append(f"| `{name}` | `{json.dumps(default)}` | {text} |")
    before, rest = README.read_text().split(_START)
    return before + _START + "\n".join(rows) + "\n" + _END + rest.split(_END)[1]


def render(*arguments: str | Path) -> str:
    """The manifests that Helm renders. Raises subprocess.CalledProcessError, with Helm's message in
    `stderr`."""
    command = [find_helm(), "template", RELEASE, CHART, "--skip-tests", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def manifests() -> dict[str, str]:
    """File name → text, for each file of values."""
    return {
        file.name: (
            f"# Written by `make settings`: deploy/helm/vibevoice with values/{file.name}.\n"
            + re.sub(r"\n{2,}", "\n", render("--values", file))
        )
        for file in sorted((CHART / "values").iterdir())
    }


def main() -> None:
    SCHEMA.write_text(schema())
    README.write_text(readme())
    for name, text in manifests().items():
        (MANIFESTS / name).write_text(text)


if __name__ == "__main__":
    main()
