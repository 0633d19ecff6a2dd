"""No usage data is sent, and no data about this machine is stored."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = {
    "light recognizer": """
from vibevoice_light.models import VOICE_ACTIVITY_MODEL
from vibevoice_light.sessions import open_session
open_session(VOICE_ACTIVITY_MODEL.path)
""",
    "natural voice": """
from vibevoice_tts.engines.hibari import VOICE_FILE
import hibari
hibari.Hibari(model=VOICE_FILE)
""",
}
SUPPRESSING = ("CI", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")
"""Variables that make onnxruntime itself disable telemetry."""


@pytest.mark.parametrize("program", PROGRAMS)
def test_onnxruntime_stores_no_device_id(program: str, tmp_path: Path) -> None:
    """onnxruntime's telemetry, on by default, would create a database and an id in the home
    folder."""
    environ = {name: value for name, value in os.environ.items() if name not in SUPPRESSING}
    environ |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", PROGRAMS[program]], check=True, env=environ)
    assert list(tmp_path.rglob("*onnxruntime*")) == []
