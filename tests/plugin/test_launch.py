"""The start script turns settings into the engine's command and supervises the engine."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from scripts.stack import free_port
from tests.support.processes import wait_for

from vibevoice_vllm import supervise as supervise_module
from vibevoice_vllm.checkpoint import CheckpointError
from vibevoice_vllm.command import Device, EngineCommand, engine_command, front_end_problem
from vibevoice_vllm.gpu import find_card, find_device
from vibevoice_vllm.launch import find_model, main
from vibevoice_vllm.settings import LaunchSettings
from vibevoice_vllm.supervise import EngineError, supervise

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "tiny-asr"
SCRIPT = ROOT / "scripts" / "start_asr_server.sh"
SECONDS = 120
"""How long a process may take on a busy machine."""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the shell that runs the tests are ignored."""
    names = {"MODEL_DIR", "ASR_PORT", "ASR_HOST", "ASR_DTYPE", "BATCH_SIZE"}
    for name in list(os.environ):
        if name in names or name.startswith("VIBEVOICE_"):
            monkeypatch.delenv(name)


def command(device: Device = "gpu", environ: dict[str, str] | None = None, **values: object):
    settings = LaunchSettings(**{"model_dir": "m", **values})  # type: ignore[arg-type]
    return engine_command(settings, device, environ or {})


def option(made: EngineCommand, name: str) -> str | None:
    """The value of a flag; None if it is not given."""
    return made.argv[made.argv.index(name) + 1] if name in made.argv else None


@pytest.mark.parametrize(
    ("name", "gpu", "cpu"),
    [
        ("vibevoice_vllm.engine", "m", "m"),
        ("--served-model-name", "vibevoice", "vibevoice"),
        ("--host", "127.0.0.1", "127.0.0.1"),
        ("--port", "8006", "8006"),
        ("--dtype", "bfloat16", "float32"),
        ("--max-model-len", "65536", "65536"),
        ("--max-num-seqs", "64", "64"),
        ("--max-num-batched-tokens", "8192", "2048"),
        ("--stream-interval", "4", None),
        ("--attention-backend", None, None),
        ("--quantization", None, None),
        ("--kv-cache-dtype", None, None),
        ("--kv-cache-memory-bytes", None, None),
        ("--gpu-memory-utilization", None, None),
        ("--allowed-local-media-path", None, None),
        ("--allowed-media-domains", "none.invalid", "none.invalid"),
        ("--chat-template-content-format", "openai", "openai"),
        ("--middleware", *["vibevoice_vllm.middleware.PinnedDecoding"] * 2),
        (
            "--logits-processors",
            "vibevoice_vllm.segment_penalty:SegmentPenaltyV2",
            "vibevoice_vllm.segment_penalty:SegmentPenalty",
        ),
        ("--scheduler-cls", *["vibevoice_vllm.scheduler.create_scheduler"] * 2),
    ],
)
def test_default_options(name: str, gpu: str | None, cpu: str | None) -> None:
    """The fast defaults for a GPU without a plan, and the defaults for a CPU."""
    assert option(command("gpu"), name) == gpu
    assert option(command("cpu"), name) == cpu


@pytest.mark.parametrize("device", ["gpu", "cpu"])
def test_default_switches(device: Device) -> None:
    """Chunked prefill, no prefix cache, no code from the model folder; CUDA graphs on a GPU."""
    argv = command(device).argv
    assert {"--enable-chunked-prefill", "--no-enable-prefix-caching"} <= {*argv}
    assert "--trust-remote-code" not in argv
    assert ("--enforce-eager" in argv) == (device == "cpu")


def test_conservative_set_is_one_flag_away() -> None:
    """The defaults of the source systems; settings made by hand still apply."""
    made = command(conservative=True)
    assert "--enforce-eager" in made.argv
    assert option(made, "--attention-backend") == "TRITON_ATTN"
    assert option(made, "--max-num-batched-tokens") == "32768"
    assert option(made, "--max-num-seqs") == "64"
    assert option(made, "--stream-interval") is None
    own = command(
        conservative=True,
        enforce_eager=False,
        attention_backend="FLASHINFER",
        max_num_batched_tokens=100,
        stream_interval=2,
    )
    assert "--enforce-eager" not in own.argv
    assert option(own, "--attention-backend") == "FLASHINFER"
    assert option(own, "--max-num-batched-tokens") == "100"
    assert option(own, "--stream-interval") == "2"


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ({"port": 9000}, "--port", "9000"),
        ({"dtype": "float16"}, "--dtype", "float16"),
        ({"attention_backend": "FLASH_ATTN"}, "--attention-backend", "FLASH_ATTN"),
        ({"allowed_local_media_path": "/a"}, "--allowed-local-media-path", "/a"),
        ({"tensor_parallel_size": 2}, "--tensor-parallel-size", "2"),
        ({"pipeline_parallel_size": 3}, "--pipeline-parallel-size", "3"),
        ({"data_parallel_size": 4}, "--data-parallel-size", "4"),
        ({"gpu_memory_utilization": 0.5}, "--gpu-memory-utilization", "0.5"),
        ({"max_num_batched_tokens": 100}, "--max-num-batched-tokens", "100"),
        ({"chat_template": "t.jinja"}, "--chat-template", "t.jinja"),
        ({"max_model_len": -1}, "--max-model-len", "-1"),
        ({"quantization": "fp8"}, "--quantization", "fp8"),
        ({"kv_cache_dtype": "fp8"}, "--kv-cache-dtype", "fp8"),
    ],
)
def test_settings_become_options(values: dict, name: str, expected: str) -> None:
    """Settings reach vLLM."""
    assert option(command(**values), name) == expected


@pytest.mark.parametrize(
    ("values", "tokens"),
    [
        ({}, "65536"),
        ({"max_model_len": 20000}, "20000"),
        ({"max_model_len": -1}, "65536"),
        ({"max_num_batched_tokens": 70000}, "70000"),
    ],
)
@pytest.mark.parametrize("device", ["gpu", "cpu"])
def test_whole_prompts(device: Device, values: dict[str, Any], tokens: str) -> None:
    """Without chunked prefill, a step must fit the longest prompt, or else vLLM does not start."""
    made = command(device, enable_chunked_prefill=False, **values)
    assert option(made, "--max-num-batched-tokens") == tokens


@pytest.mark.parametrize(
    ("values", "python"),
    [
        ({}, [sys.executable]),
        ({"python": "/opt/python"}, ["/opt/python"]),
        ({"conda_env": "asr"}, "conda run --no-capture-output -n asr python".split()),
    ],
)
def test_choice_of_environment(values: dict, python: list[str]) -> None:
    """The server runs as a module, so vLLM's console command is not needed. Microsoft's plugin has
    an environment without our package."""
    argv = command(**values).argv
    assert argv[: len(python) + 3] == [*python, "-m", "vibevoice_vllm.engine", "m"]
    theirs = command(plugin="microsoft", **values).argv
    module = ["-m", "vllm.entrypoints.cli.main", "serve", "m"]
    assert theirs[: len(python) + 4] == [*python, *module]


def test_vllm_knows_every_argument() -> None:
    """vLLM's own parser reads the command as intended."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    values = {
        "max_model_len": -1,
        "quantization": "mxfp4",
        "kv_cache_dtype": "fp8",
        "conservative": True,
        "stream_interval": 3,
        "gpu_memory_utilization": 0.5,
        "shutdown_timeout": 3,
    }
    settings = LaunchSettings(model_dir="m", **values)  # type: ignore[arg-type]
    extra = ["--api-server-count", "2", "--kv-cache-memory-bytes", "5"]
    argv = engine_command(settings, "gpu", {}, extra).argv
    read: Any = make_arg_parser(FlexibleArgumentParser()).parse_args(argv[3:])
    assert read.model_tag == "m"
    assert (read.api_server_count, read.kv_cache_memory_bytes) == (2, 5)
    assert read.middleware == ["vibevoice_vllm.middleware.PinnedDecoding"]
    assert (read.enforce_eager, read.attention_backend) == (True, "TRITON_ATTN")
    del values["conservative"]
    assert {name: getattr(read, name) for name in values} == values


def test_python_may_be_a_folder(tmp_path: Path) -> None:
    """A virtual environment can be given by its folder."""
    assert command(python=str(tmp_path)).argv[0] == str(tmp_path / "bin" / "python")


def test_default_chat_template_is_the_projects() -> None:
    """The template is found in a checkout."""
    template = option(command(), "--chat-template") or ""
    assert Path(template) == ROOT / "chat_templates" / "vibevoice_asr.jinja"


def test_answers_are_bounded_and_greedy_by_default() -> None:
    """This includes routes that the middleware does not handle."""
    generation = json.loads(option(command(), "--override-generation-config") or "")
    assert generation == {
        "temperature": 0.0,
        "top_p": 1.0,
        "repetition_penalty": 1.0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "max_new_tokens": 32768,
    }


def test_microsofts_plugin_gets_the_plain_values() -> None:
    """It gets none of our classes, no line break (the plugin adds it itself), and the literal
    penalties."""
    made = command(plugin="microsoft")
    assert not any("vibevoice_vllm" in argument for argument in made.argv)
    generation = json.loads(option(made, "--override-generation-config") or "")
    assert generation["repetition_penalty"] == 1.1
    assert generation["frequency_penalty"] == 0.5
    assert option(made, "--default-chat-template-kwargs") == '{"newline_after_audio": false}'
    assert "--enforce-eager" in made.argv
    assert option(made, "--attention-backend") == "TRITON_ATTN"
    assert option(made, "--max-num-batched-tokens") == "32768"
    assert option(made, "--stream-interval") is None
    assert made.env["VLLM_PLUGINS"] == "vibevoice"
    assert made.env["VIBEVOICE_FFMPEG_MAX_CONCURRENCY"] == "64"
    assert "--trust-remote-code" in made.argv


def test_penalties_can_be_switched_off() -> None:
    """No processor is loaded that could apply them, and the middleware is configured
    accordingly."""
    made = command(penalties="off")
    assert option(made, "--logits-processors") is None
    assert option(made, "--middleware") == "vibevoice_vllm.middleware.PinnedDecoding"
    assert made.env["VIBEVOICE_PENALTIES"] == "off"
    assert command().env["VIBEVOICE_PENALTIES"] == "on"
    plain = command(plugin="microsoft", penalties="off")
    assert option(plain, "--override-generation-config") == option(
        command(), "--override-generation-config"
    )


def test_environment() -> None:
    """Limits for 61 minutes, no downloads, no usage reports, and only our plugin."""
    env = command("gpu", gpu="0,1").env
    assert env == {
        "VLLM_MAX_AUDIO_CLIP_FILESIZE_MB": "168",
        "VLLM_MAX_AUDIO_DECODE_DURATION_S": "3660",
        "VLLM_MAX_AUDIO_DECODE_BYTES": "1405440000",
        "VIBEVOICE_ENGINE_AUDIO_SECONDS": "3660",
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
        "VLLM_FLOAT32_MATMUL_PRECISION": "high",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "VLLM_PLUGINS": "vibevoice_asr",
        "VIBEVOICE_PENALTIES": "on",
        "VLLM_MEDIA_CONNECTOR": "vibevoice",
        "CUDA_VISIBLE_DEVICES": "0,1",
    }
    assert command("cpu").env["VLLM_CPU_KVCACHE_SPACE"] == "2"


def test_own_environment_wins_over_defaults() -> None:
    """A limit set by the caller is kept, but the choice of plugin does not come from the shell."""
    environ = {"VLLM_MAX_AUDIO_DECODE_BYTES": "1", "VLLM_PLUGINS": "other"}
    env = command("gpu", environ).env
    assert "VLLM_MAX_AUDIO_DECODE_BYTES" not in env
    assert env["VLLM_PLUGINS"] == "vibevoice_asr"


def test_flags_win_over_the_environment_that_the_plugin_reads() -> None:
    """Variables that the plugin reads itself are set from the flags."""
    environ = {"VIBEVOICE_ENGINE_AUDIO_SECONDS": "100", "VLLM_CPU_KVCACHE_SPACE": "1"}
    env = command("cpu", environ, max_audio_seconds=60, cpu_kvcache_gib=3).env
    assert env["VIBEVOICE_ENGINE_AUDIO_SECONDS"] == "60"
    assert env["VLLM_CPU_KVCACHE_SPACE"] == "3"


def test_first_runner_on_a_gpu_gets_its_own_processor() -> None:
    """With vLLM's first runner, the matching processor is used."""
    made = command("gpu", {"VLLM_USE_V2_MODEL_RUNNER": "0"})
    assert option(made, "--logits-processors") == "vibevoice_vllm.segment_penalty:SegmentPenalty"


def test_dry_run_prints_a_command_for_the_shell(capsys: pytest.CaptureFixture[str]) -> None:
    """The command is quoted and includes the environment and everything after --."""
    assert main(["--model-dir", "a b", "--device", "gpu", "--dry-run", "--", "--seed", "1"]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[0] == "env"
    assert "VLLM_PLUGINS=vibevoice_asr" in words
    assert words[words.index("vibevoice_vllm.engine") + 1] == "a b"
    assert words[-2:] == ["--seed", "1"]


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        ([], {}, "8006"),
        ([], {"ASR_PORT": "9001"}, "9001"),
        (["--port", "9002"], {"ASR_PORT": "9001"}, "9002"),
        ([], {"ASR_PORT": ""}, "8006"),
    ],
)
def test_flag_over_environment_over_default(
    arguments: list[str],
    environ: dict[str, str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Flags override the environment, which overrides the default."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert main([*arguments, "--dry-run", "--device", "cpu"]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[words.index("--port") + 1] == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "none"], "port: Input should be a valid integer"),
        (["--port", "70000"], "port: Input should be less than or equal to 65535, got '70000'"),
        (["--plugin", "other"], "plugin: Input should be 'native' or 'microsoft'"),
        (["--wait-ready-secs", "-1"], "wait_ready_secs: Input should be greater than or equal"),
        (["--max-model-len", "0"], "max_model_len: Value error, Input should be a number of"),
        (["--max-model-len", "-2"], "max_model_len: Input should be greater than or equal to -1"),
    ],
)
def test_bad_settings_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output has one line per setting; the exit code is 2."""
    assert main([*arguments, "--dry-run"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        pytest.param("echo 'GPU 0: NVIDIA H100'", "gpu", id="answers"),
        pytest.param("echo 'no devices were found'; exit 6", "cpu", id="fails"),
        pytest.param("", "cpu", id="nothing"),
    ],
)
def test_device_is_found(
    gpus: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a GPU if nvidia-smi lists one."""
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\n{gpus}\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert find_device("auto") == expected
    assert find_device("cpu") == "cpu"


def fake_nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, *rows: str) -> None:
    """A program on PATH that answers like nvidia-smi."""
    smi = folder / "nvidia-smi"
    listing = "\n".join(rows)
    smi.write_text(
        f"#!/bin/sh\ncase $1 in -L) echo 'GPU 0: NVIDIA' ;; *) cat <<'END'\n{listing}\nEND\nesac\n"
    )
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


L4 = "0, GPU-1a, NVIDIA L4, 23034, 100, 8.9, [N/A]"
H100 = "1, GPU-2b, NVIDIA H100, 81559, 3000, 9.0, Disabled"


@pytest.mark.parametrize(
    ("ids", "environ", "count", "name"),
    [
        ("", {}, 1, "NVIDIA L4"),
        ("1", {}, 1, "NVIDIA H100"),
        ("", {"CUDA_VISIBLE_DEVICES": "GPU-2b"}, 1, "NVIDIA H100"),
        ("0", {"CUDA_VISIBLE_DEVICES": "1"}, 1, "NVIDIA L4"),
        ("0,1", {}, 1, "NVIDIA L4"),
        ("1,0", {}, 1, "NVIDIA H100"),
        ("", {"CUDA_VISIBLE_DEVICES": "GPU-2b, GPU-1a"}, 1, "NVIDIA H100"),
        ("1,0", {}, 2, "NVIDIA L4"),
        ("", {}, 2, "NVIDIA L4"),
        ("MIG-7", {}, 1, None),
    ],
)
def test_the_card_is_found(
    ids: str,
    environ: dict[str, str],
    count: int,
    name: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fullest of the first cards, which the engine uses, and how much others use of it."""
    fake_nvidia_smi(tmp_path, monkeypatch, L4, H100)
    card = find_card(ids, environ, count)
    assert (card and card.name) == name
    if card:
        total, used = {"NVIDIA L4": (22.04, 0.1), "NVIDIA H100": (78.06, 2.93)}[card.name]
        assert card.total / 2**30 == pytest.approx(total, abs=0.01)
        assert card.used / 2**30 == pytest.approx(used, abs=0.01)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("0, GPU-1, NVIDIA T4, 15360, 0, 7.5, [N/A]", (14.7, False)),
        ("0, GPU-1, NVIDIA GB10, [N/A], [N/A], 12.1, [N/A]", (None, True)),
        ("0, GPU-1, NVIDIA L4, 23034, 100, 8.9", None),
        ("0, GPU-1, NVIDIA L4, 23034, 100, [N/A], [N/A]", None),
        ("0, GPU-1, NVIDIA H100, [Insufficient Permissions], 0, 9.0, Disabled", None),
        ("0, GPU-1, NVIDIA H100, 81559, 0, 9.0, Enabled", None),
    ],
    ids=[
        "before Ampere",
        "memory shared with the CPU",
        "another table",
        "unknown",
        "not told",
        "MIG",
    ],
)
def test_what_nvidia_smi_tells(
    row: str,
    expected: tuple[float | None, bool] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If nvidia-smi's output is unusable, there is no card and therefore no plan."""
    fake_nvidia_smi(tmp_path, monkeypatch, row)
    card = find_card("", {})
    if expected is None or card is None:
        assert card is None and expected is None
        return
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 * 0.98
    assert card.total / 2**30 == pytest.approx(expected[0] or machine, abs=0.01)
    assert card.has_bfloat16 == expected[1]


def test_the_plan_is_for_the_gpus_that_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One GPU means the first, whatever is on the others; a model in two parts uses both."""
    fake_nvidia_smi(tmp_path, monkeypatch, H100.replace("1, ", "0, ", 1), L4.replace("0", "1", 1))
    arguments = ["--model-dir", "a/b", "--device", "gpu", "--dry-run"]
    for flags, name in (([], "H100"), (["--tensor-parallel-size", "2"], "L4")):
        assert main([*arguments, *flags]) == 0
        assert f"memory plan for NVIDIA {name}" in capsys.readouterr().err


def test_plan_of_a_card_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """The plan is logged, and the command is printed to stdout; flags after -- count as well."""
    arguments = ["--model-dir", "microsoft/VibeVoice-ASR", "--device", "gpu", "--dry-run"]
    assert main([*arguments, "--gpu-memory", "24", "--", "--quantization", "fp8"]) == 0
    shown = capsys.readouterr()
    assert "memory plan for a GPU of 24 GiB: 21.64 GiB of 23.52 for the engine" in shown.err
    words = shlex.split(shown.out)
    for flag, value in {
        "--max-model-len": "65536",
        "--max-num-seqs": "256",
        "--max-num-batched-tokens": "8192",
        "--quantization": "fp8",
    }.items():
        assert words[words.index(flag) + 1] == value
    assert "VIBEVOICE_ENCODER_DTYPE=bfloat16" in words
    assert main([*arguments, "--gpu-memory", "12"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "What would help: --quantization mxfp4" in shown.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--quantization", "int4"], "quantization 'int4'", id="quantization"),
        pytest.param(["--model-dir", "/nonexistent"], "/nonexistent has no config.json", id="path"),
        pytest.param(["--quantization", "fp8"], "", id="known"),
    ],
)
def test_a_dry_run_says_what_it_assumes(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that the plan does not know, and a folder without a model, are reported."""
    published = ["--model-dir", "microsoft/VibeVoice-ASR", "--device", "gpu", "--dry-run"]
    assert main([*published, "--gpu-memory", "24", *arguments]) == 0
    lines = capsys.readouterr().err.splitlines()
    assumed = [line for line in lines if "assumed" in line or "does not know" in line]
    assert len(assumed) == bool(said)
    assert all(said in line for line in assumed)


def test_a_shared_card_gets_a_cache_of_a_fixed_size(capsys: pytest.CaptureFixture[str]) -> None:
    """The size does not depend on what the speech worker allocates or frees in the meantime."""
    arguments = ["--model-dir", "a/b", "--device", "gpu", "--dry-run", "--gpu-memory", "80"]
    assert main([*arguments, "--gpu-memory-reserved", "8"]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert int(words[words.index("--kv-cache-memory-bytes") + 1]) > 40 * 2**30
    assert float(words[words.index("--gpu-memory-utilization") + 1]) < 0.9
    assert main(arguments) == 0
    assert "--kv-cache-memory-bytes" not in capsys.readouterr().out


def test_a_share_of_an_unknown_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No part of the memory can be reserved."""
    fake_nvidia_smi(tmp_path, monkeypatch)
    arguments = ["--model-dir", "a/b", "--device", "gpu", "--dry-run"]
    assert main([*arguments, "--gpu-memory-reserved", "8"]) == 1
    assert "set it with --gpu-memory (VIBEVOICE_GPU_MEMORY)" in capsys.readouterr().err
    assert main(arguments) == 0
    assert "no memory plan" in capsys.readouterr().err
    microsoft = ["--plugin", "microsoft", "--gpu-memory", "80"]
    for flags, kept in (([], True), (["--gpu-memory-reserved", "8"], False)):
        assert main([*arguments, *microsoft, *flags]) == 0
        assert ("--gpu-memory-reserved is ignored" in capsys.readouterr().err) != kept


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        ([], {"VLLM_USE_RUST_FRONTEND": "1"}, "Rust front end has no middleware"),
        ([], {"VLLM_USE_RUST_FRONTEND": "true"}, "Rust front end has no middleware"),
        (["--grpc"], {}, "--grpc is given"),
        (["--grpc_port=50051"], {}, "--grpc-port is given"),
        (["--seed", "1"], {"VLLM_USE_RUST_FRONTEND": "0"}, ""),
        ([], {"VLLM_USE_RUST_FRONTEND": "", "VLLM_USE_RUST_BENCH": "1"}, ""),
    ],
)
def test_front_ends_without_middleware_are_refused(
    arguments: list[str], environ: dict[str, str], message: str
) -> None:
    """Requests would reach the engine with the caller's temperature and penalties."""
    found = front_end_problem(arguments, environ)
    assert found.startswith(message) if not message else message in found


def test_the_rust_front_end_is_not_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output is one sentence, the exit code is 1, and nothing is started."""
    monkeypatch.setenv("VLLM_USE_RUST_FRONTEND", "1")
    assert main(["--model-dir", str(MODEL), "--device", "cpu"]) == 1
    assert "Unset it." in capsys.readouterr().err


def test_model_folder_is_found(tmp_path: Path) -> None:
    """The folder itself, or VibeVoice-ASR in a folder of models."""
    (tmp_path / "VibeVoice-ASR").symlink_to(MODEL)
    assert find_model(str(MODEL)) == str(MODEL)
    assert find_model(str(tmp_path)) == str(tmp_path / "VibeVoice-ASR")


def test_dry_run_names_the_folder_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """run_batch.sh runs exactly what the start script would."""
    (tmp_path / "VibeVoice-ASR").symlink_to(MODEL)
    for given, served in (
        (str(tmp_path), str(tmp_path / "VibeVoice-ASR")),
        ("microsoft/VibeVoice-ASR", "models/VibeVoice-ASR"),
    ):
        assert main(["--model-dir", given, "--dry-run"]) == 0
        words = shlex.split(capsys.readouterr().out)
        assert words[words.index("vibevoice_vllm.engine") + 1] == served


def test_folder_that_cannot_be_served_is_named(tmp_path: Path) -> None:
    """The check runs before the engine, which would take a minute to find out."""
    with pytest.raises(CheckpointError, match="cannot be served: config.json is missing"):
        find_model(str(tmp_path))
    with pytest.raises(CheckpointError, match="set --model-dir or MODEL_DIR"):
        find_model("")


SERVER = """
import http.server, os, signal, subprocess, sys, threading, time
signal.signal(signal.SIGTERM, {on_term})
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({status}); self.end_headers()
        asked.set()
    def log_message(self, *args): pass
print("loading weights", flush=True)
asked = threading.Event()
{before}
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
{after}
while True: time.sleep(0.1)
"""


@pytest.fixture
def port() -> int:
    return free_port()


def engine(
    port: int,
    *,
    before: str = "",
    after: str = "",
    status: int = 200,
    on_term: str = "lambda *_: sys.exit(0)",
) -> list[str]:
    """A small engine with /health that does something before or after it listens."""
    code = textwrap.dedent(SERVER).format(
        before=before, after=after, status=status, on_term=on_term
    )
    return [sys.executable, "-c", code, str(port)]


def run(argv: list[str], port: int, wait_seconds: int = SECONDS) -> int:
    return supervise(argv, os.environ, "127.0.0.1", port, wait_seconds)


def test_reports_when_the_engine_is_ready(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    """The engine's log is passed on. If it exits later, the message contains its exit code."""
    argv = engine(port, after="asked.wait(); time.sleep(2); print('out of memory'); sys.exit(7)")
    with pytest.raises(EngineError, match=r"(?s)ended with exit code 7\..*out of memory"):
        run(argv, port)
    output = capfd.readouterr()
    assert "loading weights" in output.out
    assert f"the engine is ready at http://127.0.0.1:{port} after" in output.err


def test_a_killed_engine_is_told(port: int) -> None:
    """The message names the signal, and a log record that is no error is not the reason."""
    argv = engine(port, after="print('INFO 1'); sys.stdout.flush(); os.kill(os.getpid(), 9)")
    with pytest.raises(EngineError, match=r"(?s)killed by SIGKILL.*Reason: killed by SIGKILL, "):
        run(argv, port)


def test_dying_before_it_is_ready_is_told_with_the_reason(port: int) -> None:
    """The message contains the last lines of the engine's log."""
    argv = engine(port, before="raise ValueError('no such model')")
    with pytest.raises(EngineError, match=r"(?s)before it was ready with exit code 1\..*no such"):
        run(argv, port)


def test_waiting_ends_when_the_time_is_over(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what was awaited, and no engine is left running."""
    now, ask = 0.0, supervise_module._health

    def health(host: str, port: int) -> str:
        """Time passes once the engine listens."""
        nonlocal now
        state = ask(host, port)
        now += 3.0 * state.startswith("status")
        return state

    monkeypatch.setattr(supervise_module, "_health", health)
    monkeypatch.setattr(
        supervise_module, "time", SimpleNamespace(monotonic=lambda: now, sleep=time.sleep)
    )
    argv = engine(port, status=503)
    with pytest.raises(EngineError, match=r"not ready after 5 s \(http://.*/health: status 503\)"):
        run(argv, port, wait_seconds=5)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def test_a_port_in_use_is_told_before_the_start(port: int) -> None:
    """The health of another server is not mistaken for the engine's."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(EngineError, match=f"cannot listen on 127.0.0.1:{port}"):
            run(engine(port), port)


def test_a_python_that_is_missing(port: int) -> None:
    """The message names what could not be run."""
    with pytest.raises(EngineError, match="cannot run /nowhere/bin/python: No such file"):
        run(["/nowhere/bin/python"], port)


SUPERVISE = """
import ctypes, json, os, sys
from vibevoice_vllm import supervise as module
from vibevoice_vllm.supervise import EngineError, supervise
if sys.argv[3:]:
    # Orphans come to this process, as to PID 1 (PR_SET_CHILD_SUBREAPER); they are waited for
    # longer than the test waits.
    assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
    module._REST_SECONDS = 600
try:
    sys.exit(supervise(json.loads(sys.argv[1]), os.environ, "127.0.0.1", int(sys.argv[2]), 60))
except EngineError as error:
    sys.exit(f"failed: {error}")
"""


@contextmanager
def supervised(
    argv: list[str], port: int, *, as_init: bool = False
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A supervisor in its own process, ready, and the lines that it writes. With `as_init` it
    inherits orphans, as PID 1 does."""
    options = [str(port), *(["init"] if as_init else [])]
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, json.dumps(argv), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    ready = threading.Event()

    def read() -> None:
        for line in process.stdout or ():
            lines.append(line)
            if "the engine is ready" in line:
                ready.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert ready.wait(SECONDS), lines
        yield process, lines
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()


def test_an_engine_that_does_not_stop_is_killed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise, the engine would keep the port and the GPU."""
    monkeypatch.setattr("vibevoice_vllm.supervise._STOP_SECONDS", 1)
    argv = engine(port, on_term="signal.SIG_IGN", after="os.kill(os.getppid(), signal.SIGTERM)")
    assert run(argv, port) == 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def test_a_signal_during_the_start_stops_the_engine(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that was left behind would keep the port and the GPU."""
    start, started = subprocess.Popen, []

    def popen(*arguments: Any, **options: Any) -> "subprocess.Popen[str]":
        started.append(start(*arguments, **options))
        os.kill(os.getpid(), signal.SIGTERM)
        return started[0]

    monkeypatch.setattr("vibevoice_vllm.supervise.subprocess.Popen", popen)
    assert run(engine(port), port) == 0
    assert started[0].poll() is not None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_engine(number: signal.Signals, port: int) -> None:
    """The signal is passed on, and a requested stop is a success."""
    argv = engine(port, before="signal.signal(signal.SIGINT, lambda *_: sys.exit(0))")
    with supervised(argv, port) as (process, _):
        process.send_signal(number)
        assert process.wait(SECONDS) == 0


def test_the_engines_children_go_with_it(port: int, tmp_path: Path) -> None:
    """A worker that outlives its killed server would hold the GPU's memory."""
    note = tmp_path / "pids"
    before = (
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(note)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')"
    )
    with supervised(engine(port, before=before), port) as (process, lines):
        server, child = map(int, note.read_text().split())
        os.kill(server, signal.SIGKILL)
        assert process.wait(SECONDS) == 1
    assert "the engine was killed by SIGKILL" in "".join(lines)
    # It was killed, but may still be on its way out.
    with suppress(psutil.NoSuchProcess):
        gone = psutil.Process(child)
        wait_for(lambda: gone.status() == psutil.STATUS_ZOMBIE)


def test_orphans_of_the_engine_are_collected(port: int) -> None:
    """As PID 1 of a container the launcher inherits what the engine leaves behind. A process that
    has ended but was not collected would count as one to wait for."""
    leave = "import subprocess; subprocess.Popen(['sleep', '1'])"
    before = f"subprocess.run([sys.executable, '-c', {leave!r}])"
    with supervised(engine(port, before=before), port, as_init=True) as (process, _):
        process.terminate()
        assert process.wait(SECONDS) == 0
