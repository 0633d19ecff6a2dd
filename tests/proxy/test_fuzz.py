"""A small, deterministic part of the fuzzing in `bench/fuzz.py`."""

import random

import httpx2
import pytest
from bench.fuzz import Figures, inputs
from bench.hostile import CONTAINERS, damaged_audio
from tests.support.fakes import FakeEngine, StartProxy

pytest_plugins = ("tests.support.proxy_fixtures",)


@pytest.mark.parametrize("seed", range(4))
def test_no_hostile_input_is_the_proxys_fault(
    seed: int, start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """Damaged audio, broken forms and disconnects lead to a 2xx or 4xx, and the proxy survives."""
    fake_engine.decode_audio = False
    url = start_proxy(decode_timeout=20, upload_timeout=1)
    figures = Figures()
    for send in inputs(seed, 40, url, figures):
        send()
    assert figures.faults == []
    assert sum(figures.statuses.values()) == 40
    assert httpx2.get(url + "/health/live", timeout=60).status_code == 200


def test_damage_is_the_same_for_the_same_seed() -> None:
    """The same seed reproduces a fault."""
    originals = {name: make() for name, make in CONTAINERS.items()}
    made = [damaged_audio(random.Random("1 7"), originals) for _ in range(2)]
    assert made[0] == made[1]
    assert made[0][1] not in originals.values()


def test_the_suite_knows_a_fault_when_it_sees_one() -> None:
    """A server error and a missing response count as faults; a 4xx does not."""
    figures = Figures()
    for status in ("200", "400", "413", "error", "gone"):
        figures.note("audio", "input", status, 0.1)
    assert figures.faults == []
    for status in ("500", "502", "none", "5 connection: ReadError"):
        figures.note("audio", "input", status, 0.1)
    assert len(figures.faults) == 4
