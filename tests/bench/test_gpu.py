"""`make bench-gpu`: what it measures, its time limit, and what it writes."""

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bench.engine_requests import OutOfTime, events
from bench.gpu import main
from bench.gpu_load import hour, sweep, to_engine, to_proxy
from bench.gpu_results import (
    FILE,
    NOTHING,
    PAGE,
    Clips,
    Hour,
    Results,
    Speech,
    Start,
    markdown,
    page,
)
from bench.gpu_run import SHORT, Bench
from bench.gpu_settings import DEFAULT, ON_CPU, SETTINGS, Model, Setting, Unavailable, microsoft
from bench.servers import fake_engine
from scripts.stack import ROOT
from tests.support.engine import TINY
from tests.support.processes import fake_engine_process, nobody

TOKENS = 5


def results() -> Results:
    """The results of a run that was cut short."""
    return Results(
        "2026-11-30",
        {"GPU": "NVIDIA H200, 143771 MiB, 580.1", "vllm": "0.32.0"},
        "random, of the published size: only speed counts",
        starts=[Start("default", 61.4, 120.25)],
        clips=[Clips("default, 200 tokens", 8, 16, 30.0, 4.0, 3000, [0.5, 0.25, 1.0], 7.25, 1)],
        hours=[Hour("default", 3600.0, 12.5, 112.5, 10_001, False)],
        speech=[Speech("vibevoice-0.5b", "bfloat16", 0, 5, 16, 0.06, 24.04, 0.1803)],
        skipped=[("Microsoft's plugin", "time ran out")],
    )


def test_results_become_tables() -> None:
    """Each figure is in its column; missing ones have the reason."""
    text = markdown(results())
    assert "| default | 61 s | 120.2 GiB |" in text
    assert (
        "| default, 200 tokens | 8 | 16 of 30 s, 1 failed | 112.5 | 750 | 0.50 and 1.00 s | 7.2 |"
        in text
    )
    assert "| default | 60 min | 12.5 s | 10001 | 10.0 | stopped after 112 s |" in text
    assert "| vibevoice-0.5b, bfloat16 | 5 | 16 | 60 ms | 24.0 ms | 0.18 |" in text
    assert text.endswith("- Microsoft's plugin: time ran out")
    heads = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert set(heads) == {4, 8, 7}


def test_results_are_kept_in_a_file(tmp_path: Path) -> None:
    """Written results can be read back."""
    results().save(tmp_path / "gpu.json")
    assert Results.load(tmp_path / "gpu.json") == results()


def test_the_page_shows_the_results_of_the_file() -> None:
    """The section "Measured" of docs/results/gpu.md matches bench/gpu.json, or says that nothing
    was measured; `python -m bench.gpu --table` writes it."""
    text = PAGE.read_text()
    assert text == page(text, Results.load(FILE) if FILE.exists() else None)


def test_the_rest_of_the_page_stays() -> None:
    """The text before and after the section is unchanged; a missing section is added at the end."""
    before, after = "# On a GPU\n\nText.\n\n", "## Else\n\nMore.\n"
    assert page(before, None) == f"{before}## Measured\n\n{NOTHING}\n"
    found = page(f"{before}## Measured\n\nold\n\n{after}", results())
    assert found.startswith(before + "## Measured\n\n2026-11-30, GPU NVIDIA H200")
    assert found.endswith("time ran out\n\n" + after)
    assert "old" not in found
    assert page(found, results()) == found


@pytest.mark.engine
def test_many_clients_and_one_long_recording(engine_url: str) -> None:
    """Every answer has the forced number of tokens, whatever the model predicts."""
    found = sweep(to_engine(engine_url, TOKENS), "tiny", 3, 4, 2.0, math.inf, 1)
    assert (found.clients, found.clips, found.failures) == (3, 4, 0)
    assert found.tokens == 4 * TOKENS
    assert 0 < found.first[0] <= found.first[-1] <= found.seconds
    assert found.speed == pytest.approx(8 / found.seconds)
    alone = hour(engine_url, "tiny", 40.0, TOKENS, math.inf)
    assert (alone.tokens, alone.whole) == (TOKENS, True)
    assert 0 < alone.first < alone.seconds


def test_the_proxy_is_measured_too(tmp_path: Path) -> None:
    """The answers have the length that the model gives them."""
    with fake_engine(tmp_path / "log", 0.2, TTS_MODEL_TYPE="off") as (url, *_):
        found = sweep(to_proxy(url), "proxy", 2, 2, 2.0, math.inf, 3)
        with pytest.raises(OutOfTime):
            sweep(to_proxy(url), "proxy", 1, 1, 2.0, time.monotonic() + 0.1, 4)
    assert (found.clips, found.failures) == (2, 0)
    assert found.tokens > 0
    assert 0.2 < found.first[0] <= found.seconds


@pytest.mark.engine
def test_an_answer_is_broken_off_when_the_time_is_up(
    engine_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens that arrived in time are counted."""
    now = 0.0

    def slow(engine: str, body: dict[str, Any], until: float) -> Iterator[bytes]:
        """Events that take 300 seconds each."""
        nonlocal now
        for event in events(engine, body, until):
            yield event
            now += 300.0

    monkeypatch.setattr("bench.gpu_load.events", slow)
    monkeypatch.setattr("bench.engine_requests.time", SimpleNamespace(monotonic=lambda: now))
    alone = hour(engine_url, "tiny", 2.0, 30_000, 1000.0)
    assert not alone.whole
    assert 0 < alone.tokens < 30_000


def fake_python(folder: Path, seconds: float = 0.05) -> Path:
    """A Python for `VIBEVOICE_PYTHON` that starts the fake engine on vLLM's port; each answer takes
    `seconds`."""
    script = folder / "python"
    script.write_text(
        "#!/bin/sh\n"
        'while [ "$1" != --port ]; do shift; done\n'
        f'exec {sys.executable} -m tests.support.fakes "$2" {seconds}\n'
    )
    script.chmod(0o755)
    return script


def test_a_run_measures_an_engine_and_its_proxy(tmp_path: Path) -> None:
    """With published weights, it measures clips directly and through the proxy, then an hour."""
    base = {"VIBEVOICE_PYTHON": str(fake_python(tmp_path)), "VIBEVOICE_DEVICE": "cpu"}
    run = Bench(Results("2026-11-30", {}, ""), tmp_path / "gpu.json", SHORT, base, 300)
    model = Model(TINY, "those of tiny-asr", True)
    run.step("transcription", lambda: run.transcription(model, DEFAULT, (1, 2)))
    run.step("unknown", lambda: run.transcription(model, Setting("else", {"X": ""}), (1,)))
    found = Results.load(tmp_path / "gpu.json")
    assert [name for name, _ in found.skipped] == ["unknown"]
    assert [start.setting for start in found.starts] == ["default"]
    assert [(row.setting, row.clients, row.failures) for row in found.clips] == [
        ("default, 8 tokens", 1, 0),
        ("default, 8 tokens", 2, 0),
        ("default, through the proxy, real answers", 1, 0),
        ("default, through the proxy, real answers", 2, 0),
    ]
    assert [hour.whole for hour in found.hours] == [True]


def test_a_start_that_was_repeated_is_no_row(tmp_path: Path) -> None:
    """Without this, the results would be for other settings than those in the row."""
    python = fake_python(tmp_path)
    said = "echo '!!! Starting it ONCE MORE with --conservative'"
    python.write_text(python.read_text().replace("\n", f"\n{said}\n", 1))
    base = {"VIBEVOICE_PYTHON": str(python), "VIBEVOICE_DEVICE": "cpu"}
    run = Bench(Results("2026-11-30", {}, ""), tmp_path / "gpu.json", SHORT, base, 300)
    model = Model(TINY, "those of tiny-asr", True)
    run.step("transcription", lambda: run.transcription(model, DEFAULT, (1,)))
    found = Results.load(tmp_path / "gpu.json")
    assert (found.starts, found.clips, found.hours) == ([], [], [])
    ((_, why),) = found.skipped
    assert why.startswith("it died and was restarted with --conservative (log: ")


def test_a_long_recording_that_takes_too_long(tmp_path: Path) -> None:
    """The recording is stopped after a quarter of the time; the remaining measurements are made."""
    base = {"VIBEVOICE_PYTHON": str(fake_python(tmp_path, 2.0)), "VIBEVOICE_DEVICE": "cpu"}
    run = Bench(Results("2026-11-30", {}, ""), tmp_path / "gpu.json", SHORT, base, math.inf)
    run.hour_seconds = 1.0
    model = Model(TINY, "those of tiny-asr", False)
    run.step("transcription", lambda: run.transcription(model, DEFAULT, (1,)))
    found = Results.load(tmp_path / "gpu.json")
    assert found.skipped == [("one long recording alone", "time ran out before the first token")]
    assert (len(found.clips), found.hours) == (1, [])
    assert found.starts[0].memory > 0


def test_a_run_stops_in_time(tmp_path: Path) -> None:
    """An engine that is too slow is stopped, and the file says what is missing."""
    bench = Bench(results(), tmp_path / "gpu.json", SHORT, {}, 1.0)
    with fake_engine_process(tmp_path / "log", 600.0, killed=True) as engine:

        def slow() -> None:
            sweep(to_engine(engine, TOKENS), "slow", 2, 4, 2.0, time.monotonic() + 1, 2)

        bench.step("sweep", slow)

        def endless() -> None:
            with bench.in_time():
                subprocess.run(["sleep", "600"], check=True)

        bench.step("a process", endless)
    found = Results.load(tmp_path / "gpu.json")
    assert found.skipped[-2:] == [("sweep", "time ran out"), ("a process", "time ran out")]


def test_a_process_is_ended_when_the_time_is_up(tmp_path: Path) -> None:
    """Memory is measured while the process is running."""
    started = time.monotonic()
    bench = Bench(results(), tmp_path / "gpu.json", SHORT, {}, 0.5)
    with pytest.raises(OutOfTime), bench.in_time():
        subprocess.run(["sleep", "600"], check=True)
    assert time.monotonic() - started > 0.4
    unlimited = Bench(results(), tmp_path / "gpu.json", SHORT, {}, math.inf)
    with unlimited.in_time():
        pass


def test_what_cannot_be_measured_is_written_with_the_reason(tmp_path: Path) -> None:
    """Examples are a missing engine, an unknown setting, and a plugin that is not installed."""
    bench = Bench(results(), tmp_path / "gpu.json", SHORT, {}, math.inf)
    bench.step("nobody", lambda: hour(nobody(), "x", 1.0, 1, math.inf) and None)
    bench.step("setting", Setting("x", {"VIBEVOICE_NO_SUCH": "1"}).require)
    bench.step("plugin", lambda: microsoft("").require())
    reasons = dict(Results.load(tmp_path / "gpu.json").skipped)
    assert "refused" in reasons["nobody"]
    assert reasons["setting"] == "the engine does not have the setting VIBEVOICE_NO_SUCH"
    assert "--microsoft-python" in reasons["plugin"]


def test_the_settings_compared_are_those_of_the_engine() -> None:
    """The encoders' precision and CUDA graphs are settings; there may be others."""
    for setting in (*SETTINGS[:3], Setting("rehearsal", ON_CPU)):
        setting.require()
    with pytest.raises(Unavailable):
        Setting("x", {"VIBEVOICE_NO_SUCH": "1"}).require()


def test_without_a_gpu_the_command_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message also names the rehearsal."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit) as ended:
        main(["--minutes", "15"])
    assert ended.value.code == 2
    assert "finds no GPU; use --cpu --layers 2 --short" in capsys.readouterr().err


def test_the_bench_is_a_target() -> None:
    """`make bench-gpu` runs it."""
    assert "-m bench.gpu $(ARGS)" in (ROOT / "Makefile").read_text()
