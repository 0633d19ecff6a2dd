"""The README is short, and what it shows is true."""

import json
import re

import pytest
from scripts.demo import TOLERANCE, words
from scripts.stack import ROOT

README = (ROOT / "README.md").read_text()
MAX_LINES = 150
_SAMPLE = re.compile(r"^(samples/[\w-]+)\.\w+ \([\d.]+ s, ([\w-]+)\)\n((?: +\d.*\n)+)", re.M)
_SEGMENT = re.compile(r" +([\d.]+) – +([\d.]+) s  (\w+): (.*)\n")


def first_table(page: str, after: str) -> str:
    """The first table of `page` after a text."""
    found = re.search(r"^\|.*?\n(?=\n)", page.partition(after)[2], re.M | re.S)
    assert found
    return found[0]


def test_it_is_short() -> None:
    """So that people read it."""
    assert len(README.splitlines()) <= MAX_LINES


def test_the_output_of_the_demo_is_real() -> None:
    """Words, speakers, and times are those that `make demo` requires."""
    shown = _SAMPLE.findall(README)
    assert len(shown) == 2
    for sample, model, segments in shown:
        truth = json.loads((ROOT / f"{sample}.json").read_text())
        assert model == truth.get("model", "vibevoice")
        for want, got in zip(truth["segments"], _SEGMENT.findall(segments), strict=True):
            assert float(got[0]) == pytest.approx(want["start"], abs=TOLERANCE + 0.05)
            assert float(got[1]) == pytest.approx(want["end"], abs=TOLERANCE + 0.05)
            assert (got[2], words(got[3])) == (want["speaker"], words(want["text"]))


def test_what_was_run_where_is_told_twice_alike() -> None:
    """The table is that of docs/results/index.md."""
    results = (ROOT / "docs" / "results" / "index.md").read_text()
    table = first_table(README, "## What was run where")
    assert table == first_table(results, "# What was tested")
    assert table.count("not run") >= 5
