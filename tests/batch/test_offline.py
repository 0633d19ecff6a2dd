"""The batch client without a server: requests for vLLM's run-batch, and its results."""

import base64
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.stack import ROOT
from tests.support.batch_client import Batch
from tests.support.engine import TINY

from vibevoice_core.penalties import Penalties

SAMPLES = ROOT / "samples"
TOLERANCE = 0.3
"""Tolerance in seconds for a segment's start or end."""
SEGMENTS = [
    {"start": 0.0, "end": 1.0, "speaker": "3", "text": "yes"},
    {"start": 1.0, "end": 2.0, "speaker": "", "text": "[Music]"},
    {"start": 2.0, "end": 3.0, "speaker": "0", "text": "no"},
]


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    """The client, without a server."""
    return Batch(tmp_path / "transcripts")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings, two of which are identical."""
    (tmp_path / "in").mkdir()
    for name in ("a.wav", "b.wav", "same.wav"):
        (tmp_path / "in" / name).write_bytes(b"b" if name == "b.wav" else b"a" * 1_000_000)
    return tmp_path / "in"


def write(batch: Batch, folder: Path, *arguments: str) -> list[dict]:
    """The requests written for a folder."""
    file = batch.output.parent / "requests.jsonl"
    code, said = batch.run("write-batch", "--requests", file, folder, *arguments)
    assert code == 0, said
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_equal_recordings_are_one_request(batch: Batch, folder: Path) -> None:
    """The audio is included unmodified, with hotwords and the decoding that run-batch does not
    pin."""
    first, second = write(batch, folder, "--hotwords", "Zürich")

    assert first["url"] == "/v1/audio/transcriptions"
    assert base64.b64decode(first["body"]["file_url"].partition(",")[2]) == b"a" * 1_000_000
    assert first["body"]["hotwords"] == "Zürich"
    assert first["custom_id"] != second["custom_id"]


def test_requests_are_decoded_as_the_engine_pins_them(batch: Batch, folder: Path) -> None:
    """The engine's middleware and the client have the same values."""
    middleware = pytest.importorskip("vibevoice_vllm.middleware")
    body = write(batch, folder)[0]["body"]

    pinned = middleware.pinned_values()
    assert {key: body[key] for key in ("temperature", "vllm_xargs")} == {
        key: pinned[key] for key in ("temperature", "vllm_xargs")
    }


def test_penalties_can_be_switched_off(batch: Batch, folder: Path) -> None:
    """The argument or the variable turns them off; any value other than on or off is a usage
    error."""
    middleware = pytest.importorskip("vibevoice_vllm.middleware")
    neutral = middleware.pinned_values(penalties=Penalties())["vllm_xargs"]
    body = write(batch, folder, "--penalties", "off")[0]["body"]
    assert (body["temperature"], body["vllm_xargs"]) == (0.0, neutral)
    file = batch.output.parent / "requests.jsonl"
    arguments = ("write-batch", "--requests", file, folder)
    assert batch.run(*arguments, VIBEVOICE_PENALTIES="off")[0] == 0
    assert json.loads(file.read_text().splitlines()[0])["body"]["vllm_xargs"] == neutral
    code, said = batch.run(*arguments, VIBEVOICE_PENALTIES="no")
    assert code == 2
    assert "--penalties: expected on or off, got 'no'" in said


def test_results_become_transcripts(batch: Batch, folder: Path, tmp_path: Path) -> None:
    """Every file with the same content gets the transcript; speakers become letters; missing
    results are left for later."""
    first, second = (request["custom_id"] for request in write(batch, folder))
    answer = {"text": "yes no", "duration": 3.0, "segments": SEGMENTS}
    result = {"custom_id": first, "response": {"status_code": 200, "body": answer}, "error": None}
    (tmp_path / "results.jsonl").write_text(json.dumps(result) + "\n")
    read = ("read-batch", "--results", tmp_path / "results.jsonl", folder, "--format", "txt")

    code, said = batch.run(*read)

    assert (code, "2 transcribed (1 as copies of another), 0 failed, 1 left" in said) == (1, True)
    for name in ("a.wav", "same.wav"):
        assert (batch.output / f"{name}.txt").read_text() == "A: yes\n[Music]\nB: no\n"
    assert [request["custom_id"] for request in write(batch, folder)] == [second]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param({"error": {"message": "too long", "code": 400}}, id="object"),
        pytest.param("too long", id="text"),
    ],
)
def test_failed_requests_are_named(
    batch: Batch, folder: Path, tmp_path: Path, error: object
) -> None:
    """All forms in which run-batch reports errors are recognized."""
    result = {"response": {"status_code": 400, "body": None}, "error": error}
    with (tmp_path / "results.jsonl").open("w") as file:
        for request in write(batch, folder):
            print(json.dumps({**result, "custom_id": request["custom_id"]}), file=file)

    code, said = batch.run("read-batch", "--results", tmp_path / "results.jsonl", folder)

    assert code == 1
    assert all(f"FAILED {n}: too long" in said for n in ("a.wav", "b.wav", "same.wav"))


def test_a_file_that_holds_no_results_is_told(batch: Batch, folder: Path, tmp_path: Path) -> None:
    """A file without results is a usage error."""
    (tmp_path / "results.jsonl").write_text("[]\n")

    code, said = batch.run("read-batch", "--results", tmp_path / "results.jsonl", folder)

    assert (code, "line 1 is not a run-batch result" in said) == (2, True)


@pytest.mark.engine
def test_run_batch_itself_transcribes(batch: Batch, tmp_path: Path) -> None:
    """vLLM's program on the embedded checkpoint: the samples are correct, and non-audio is
    named."""
    folder = tmp_path / "in"
    folder.mkdir()
    samples = sorted(SAMPLES.glob("*.wav"))
    for sample in samples:
        (folder / sample.name).write_bytes(sample.read_bytes())
    (folder / "bad.wav").write_bytes(b"no audio")
    write(batch, folder)
    flags = ["--model-dir", str(TINY), "--max-num-seqs", "8", "--cpu-kvcache-gib", "1"]
    files = [str(tmp_path / "requests.jsonl"), str(tmp_path / "results.jsonl")]

    ran = subprocess.run(
        [ROOT / "scripts" / "run_batch.sh", *files, *flags, "--device", "cpu"],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    code, said = batch.run("read-batch", "--results", files[1], folder)

    assert (code, "3 transcribed" in said, "FAILED bad.wav: " in said) == (1, True, True)
    for sample in samples:
        expected = json.loads(sample.with_suffix(".json").read_text())["segments"]
        segments = json.loads((batch.output / f"{sample.name}.json").read_text())["segments"]
        assert [(s["speaker"], s["text"]) for s in segments] == [
            (s["speaker"], s["text"]) for s in expected
        ]
        for segment, truth in zip(segments, expected, strict=True):
            for key in ("start", "end"):
                assert segment[key] == pytest.approx(truth[key], abs=TOLERANCE)


def test_microsofts_plugin_runs_a_batch_too(tmp_path: Path) -> None:
    """vLLM's own program runs in their environment and accepts every argument."""
    (tmp_path / "requests").write_text("{}\n")
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >{tmp_path}/arguments\n")
    python.chmod(0o755)
    flags = ["--plugin", "microsoft", "--python", python, "--model-dir", TINY, "--device", "gpu"]

    ran = subprocess.run(
        [ROOT / "scripts" / "run_batch.sh", "requests", "results", *flags],
        cwd=tmp_path,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0, ran.stderr
    arguments = (tmp_path / "arguments").read_text().splitlines()
    program = ["-m", "vllm.entrypoints.cli.main", "run-batch", "--model", str(TINY)]
    assert arguments[:5] == program
    assert arguments[-4:] == ["-i", "requests", "-o", "results"]
    launcher = pytest.importorskip("vllm.entrypoints.launchers.run_batch")
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    read = launcher.make_arg_parser(FlexibleArgumentParser()).parse_args(arguments[3:])
    assert (read.model, read.input_file) == (str(TINY), "requests")


@pytest.mark.parametrize(
    ("files", "passed"),
    [
        (["requests", "results"], ["-i", "requests", "-o", "results"]),
        (["--", "-requests", "-results"], ["-i", "./-requests", "-o", "./-results"]),
    ],
)
def test_a_dry_run_prints_the_command_of_run_batch(
    tmp_path: Path, files: list[str], passed: list[str]
) -> None:
    """It has no options of a server, and file names that begin with - are not options. Nothing is
    written."""
    (tmp_path / files[-2]).write_text("{}\n")
    flags = ["--model-dir", TINY, "--device", "cpu", "--dry-run", "--", "--seed", "7"]

    ran = subprocess.run(
        [ROOT / "scripts" / "run_batch.sh", *files, *flags],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0, ran.stderr
    words = shlex.split(ran.stdout)
    program = words.index("vllm.entrypoints.launchers.run_batch")
    assert words[program + 1 : program + 3] == ["--model", str(TINY)]
    assert words[-6:] == ["--seed", "7", *passed]
    assert "--middleware" not in words
    assert [path.name for path in tmp_path.iterdir()] == [files[-2]]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([], "the following arguments are required: requests, results"),
        (["", "out"], "a file name is empty"),
        (["requests", ""], "a file name is empty"),
        (["nowhere", "out"], "nowhere is not a readable file"),
        (["empty", "out"], "empty contains no requests"),
        (["requests", "requests"], "requests and results are the same file"),
        (["requests", "folder"], "folder is a folder"),
        (["requests", "nowhere/out"], "cannot write to nowhere/out"),
        (["requests", "requests/out"], "cannot write to requests/out"),
    ],
)
def test_files_that_run_batch_cannot_use_are_told(
    tmp_path: Path, files: list[str], reason: str
) -> None:
    """The error comes before an engine is started."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "requests").write_text("{}\n")

    ran = subprocess.run(
        [ROOT / "scripts" / "run_batch.sh", *files], cwd=tmp_path, capture_output=True, text=True
    )

    assert (ran.returncode, reason in ran.stderr) == (2, True), ran.stderr
    assert (tmp_path / "requests").read_text() == "{}\n"
