"""The README is short, and agrees with the docs; tests/deploy/test_demo.py compares its demo."""

import re

from scripts.stack import ROOT

README = (ROOT / "README.md").read_text()
MAX_LINES = 150


def first_table(page: str, after: str) -> str:
    """The first table of `page` after a text."""
    found = re.search(r"^\|.*?\n(?=\n)", page.partition(after)[2], re.M | re.S)
    assert found
    return found[0]


def test_it_is_short() -> None:
    """A short README gets read."""
    assert len(README.splitlines()) <= MAX_LINES


def test_what_was_run_where_is_told_twice_alike() -> None:
    """The table is the same as in docs/results/index.md."""
    results = (ROOT / "docs" / "results" / "index.md").read_text()
    table = first_table(README, "## What was run where")
    assert table == first_table(results, "# What was tested")
    assert table.count("not run") >= 5
