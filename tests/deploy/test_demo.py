"""`make demo` prints what README.md shows."""

import re
import subprocess
import sys

import pytest
from scripts.stack import ROOT

TIME = re.compile(r" \d+\.\d(?= [–s])")

pytestmark = pytest.mark.engine


def test_the_demo_prints_what_the_readme_shows() -> None:
    """Speakers and words match exactly, times within a tenth of a second."""
    readme = (ROOT / "README.md").read_text()
    promised = re.search(r"^\$ make demo\n(samples/.+?)\n\$ make serve", readme, re.M | re.S)
    assert promised
    ran = subprocess.run(
        [sys.executable, "-m", "scripts.demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    printed = ran.stdout[ran.stdout.index("samples/") :].partition("\n\nAll transcripts")[0]
    assert TIME.sub("", printed) == TIME.sub("", promised[1])
    times, shown = ([float(time) for time in TIME.findall(s)] for s in (printed, promised[1]))
    assert times == pytest.approx(shown, abs=0.11)
