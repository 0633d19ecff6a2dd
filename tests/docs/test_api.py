"""docs/reference and docs/results/conformance.md match the code."""

import ast
import re
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.fakes import StartProxy

from vibevoice_proxy.settings_table import describe_settings
from vibevoice_proxy.speech.options import SpeechOptions
from vibevoice_proxy.transcription.options import TranscriptionOptions

pytest_plugins = ("tests.support.proxy_fixtures",)

TESTS = Path(__file__).parents[1]
DOCS = TESTS.parent / "docs"
API, METRICS, CONFORMANCE = (
    (DOCS / name).read_text()
    for name in ("reference/api.md", "reference/metrics.md", "results/conformance.md")
)
PROOFS = sorted(set(re.findall(r"`(\w+/test_\w+\.py)::(\w+)`", CONFORMANCE)))


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its header row."""
    section = f"\n{page}".split(f"\n{heading}\n", 1)[1]
    lines = re.findall(r"^\|(.*)\|$", section.partition("\n#")[0], re.M)
    return [[cell.strip() for cell in line.split("|")] for line in lines[2:]]


@pytest.mark.parametrize(("file", "name"), PROOFS)
def test_every_proof_is_a_test(file: str, name: str) -> None:
    """Every test that the page names exists."""
    tree = ast.parse((TESTS / file).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert name in {node.name for node in tree.body if isinstance(node, functions)}


@pytest.mark.parametrize(
    "heading",
    ["## Transport and errors", "## Engine and overload", "## Transcripts", "## Speech"],
)
def test_every_expectation_has_a_proof_or_a_reason(heading: str) -> None:
    """No row is empty."""
    assert rows(CONFORMANCE, heading)
    for expectation, answer, proof in rows(CONFORMANCE, heading):
        assert all((expectation, answer, proof)), expectation


def test_every_field_is_told() -> None:
    """The table of fields has exactly the fields of the form."""
    told = {
        name.removesuffix("[]")
        for cells in rows(API, "## Transcriptions")
        for name in re.findall(r"`([^`]+)`", cells[0])
    }
    assert told == {*TranscriptionOptions.model_fields, "file", "chunking_strategy"}


def test_every_field_of_speech_is_told() -> None:
    """The table of fields has exactly the fields of the JSON body."""
    told = {name for cells in rows(API, "## Speech") for name in re.findall(r"`(\w+)`", cells[0])}
    assert told == set(SpeechOptions.model_fields)


def test_every_metric_is_told(start_proxy: StartProxy) -> None:
    """The table of metrics has all our metrics."""
    told = {
        name
        for cells in rows(METRICS, "# Prometheus metrics")
        for name in re.findall(r"`([^`]+)`", cells[0])
    }
    url = start_proxy(light="on", light_workers=1)
    families = text_string_to_metric_families(httpx2.get(f"{url}/metrics", timeout=60).text)
    ours = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in families
        if family.name.startswith("vibevoice_") and not family.name.endswith("_created")
    }
    assert ours | {"process_*"} == told


def test_every_setting_named_is_one() -> None:
    """Every setting that the page names exists."""
    named = set(re.findall(r"VIBEVOICE_[A-Z_]+", API))
    assert named
    assert named <= {name for name, _, _ in describe_settings()}
