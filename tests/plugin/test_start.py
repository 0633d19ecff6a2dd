"""Starting on a simulated GPU: one program answers like nvidia-smi, another like the engine."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
from scripts.stack import free_port

from vibevoice_vllm.failure import can_be_mended, failure_reason
from vibevoice_vllm.launch import main

MODEL = Path(__file__).parents[2] / "models" / "tiny-asr"
SMI = """#!/bin/sh
case $1 in
    -L) echo 'GPU 0: NVIDIA L4 (UUID: GPU-1a)' ;;
    *) echo '0, GPU-1a, NVIDIA L4, 23034, 1, 8.9, [N/A]' ;;
esac
"""
ENGINE = """#!{python}
import http.server, json, os, signal, sys, time
arguments = sys.argv[1:]
with open({note!r}, "a") as note:
    note.write(json.dumps(arguments) + "\\n")
def die(code=1, *lines):
    print(*lines, sep="\\n", flush=True)
    sys.exit(code)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        answered.append(1)
    def log_message(self, *_): pass
answered = []
{before}
port = int(arguments[arguments.index("--port") + 1])
with http.server.HTTPServer(("127.0.0.1", port), Handler) as server:
    server.handle_request()
    {ready}
    while True: time.sleep(0.1)
"""
STOP = "os.kill(os.getppid(), signal.SIGTERM)"
CAPTURE = [
    "(EngineCore pid=7) ERROR 11-30 11:40:00 [core.py:1100] EngineCore failed to start.",
    "(EngineCore pid=7) ERROR 11-30 11:40:00 [core.py:1100] Traceback (most recent call last):",
    '(EngineCore pid=7) ERROR 11-30 11:40:00 [core.py:1100]   File "a.py", line 1, in capture',
    "(EngineCore pid=7) ERROR 11-30 11:40:00 [core.py:1100] torch.AcceleratorError: CUDA error: "
    "operation not permitted when stream is capturing",
    "(APIServer pid=1) Traceback (most recent call last):",
    *[f"(APIServer pid=1)   frame {n}" for n in range(40)],
    "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. "
    "Failed core proc(s): {{}}",
]
REASON = "AcceleratorError: CUDA error: operation not permitted when stream is capturing"
DIES_FAST = f"if '--enforce-eager' not in arguments: die(1, *{CAPTURE!r})"


class FakeGpu:
    """A machine that appears to have an L4."""

    def __init__(self, folder: Path) -> None:
        self.note = folder / "starts"
        self.engine = folder / "python"
        self._write(folder / "nvidia-smi", SMI)

    def starts(self) -> list[list[str]]:
        """The arguments of every engine that was started."""
        lines = self.note.read_text().splitlines() if self.note.exists() else []
        return [json.loads(line) for line in lines]

    def run(self, *flags: str, before: str = "", ready: str = STOP) -> int:
        """Start an engine that does `before`, then listens, then does `ready` after the first
        request."""
        self._write(
            self.engine,
            ENGINE.format(python=sys.executable, note=str(self.note), before=before, ready=ready),
        )
        model = ["--model-dir", str(MODEL), "--port", str(free_port())]
        return main([*model, "--python", str(self.engine), *flags])

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    for name in [name for name in os.environ if name.startswith("VIBEVOICE_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("vibevoice_vllm.supervise._REPORT_SECONDS", 0.5)
    return FakeGpu(tmp_path)


@pytest.mark.parametrize(("flags", "seconds"), [([], 1800), (["--device", "cpu"], 120)])
def test_a_slow_start_is_waited_for(
    flags: list[str], seconds: int, gpu: FakeGpu, capfd: pytest.CaptureFixture[str]
) -> None:
    """The limit is half an hour on a GPU and two minutes on a CPU. The plan is shown first."""
    assert gpu.run(*flags, before="time.sleep(2)") == 0
    shown = capfd.readouterr().err
    assert re.search(rf"waiting for http://.*/health: .*, \d+ of {seconds} s", shown)
    assert "the engine is ready at" in shown
    assert ("memory plan for NVIDIA L4: 20.28 GiB of 22.04" in shown) == (not flags)
    assert len(gpu.starts()) == 1


def test_a_start_that_dies_is_repeated_with_the_conservative_set(
    gpu: FakeGpu, capfd: pytest.CaptureFixture[str]
) -> None:
    """The failure is reported prominently, with the reason from the process that failed, not from
    the one that noticed. The retry has no larger steps, since memory may have been the cause."""
    assert gpu.run(before=DIES_FAST) == 0
    fast, slow = gpu.starts()
    assert "--enforce-eager" not in fast and "--attention-backend" not in fast
    assert "--enforce-eager" in slow
    assert slow[slow.index("--attention-backend") + 1] == "TRITON_ATTN"
    for flag, before, after in (
        ("--max-num-batched-tokens", "8192", "8192"),
        ("--max-num-seqs", "256", "64"),
    ):
        assert (fast[fast.index(flag) + 1], slow[slow.index(flag) + 1]) == (before, after)
    shown = capfd.readouterr().err
    assert f"THE ENGINE DIED with the fast defaults, before it was ready: {REASON}" in shown
    assert "ONCE MORE with --conservative" in shown
    assert shown.index("ONCE MORE") < shown.index("the engine is ready")


def test_a_repeated_start_reads_whole_prompts_too(gpu: FakeGpu) -> None:
    """A step still fits the longest request."""
    assert gpu.run("--no-enable-chunked-prefill", before=DIES_FAST) == 0
    for started in gpu.starts():
        flags = ("--max-model-len", "--max-num-batched-tokens")
        context, batched = (started[started.index(flag) + 1] for flag in flags)
        assert context == batched


def test_it_is_repeated_once_only(gpu: FakeGpu, capfd: pytest.CaptureFixture[str]) -> None:
    """After the second failure, the script exits and says why."""
    assert gpu.run(before=f"die(1, *{CAPTURE!r})") == 1
    assert len(gpu.starts()) == 2
    assert f"Reason: {REASON}" in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "before", "ready"),
    [
        pytest.param([], "die(2, 'vllm serve: error: unrecognized arguments: --x')", STOP, id="2"),
        pytest.param([], "die(1, 'ValueError: Unknown quantization method: x')", STOP, id="value"),
        pytest.param([], "die(1, 'FileNotFoundError: no weights')", STOP, id="file"),
        pytest.param(["--conservative"], "die(1, 'RuntimeError: x')", STOP, id="conservative"),
        pytest.param(["--device", "cpu"], "die(1, 'RuntimeError: x')", STOP, id="cpu"),
        pytest.param([], "", "time.sleep(2); die(1, 'RuntimeError: x')", id="after it was ready"),
        pytest.param([], STOP, STOP, id="stopped by a signal"),
    ],
)
def test_what_is_not_repeated(flags: list[str], before: str, ready: str, gpu: FakeGpu) -> None:
    """There is no retry after a rejected setting, a missing dependency, or a stop, on a CPU, or if
    the engine had been ready."""
    stopped = before == STOP
    pause = "; time.sleep(30)" if stopped else ""
    assert gpu.run(*flags, before=before + pause, ready=ready) == (0 if stopped else 1)
    assert len(gpu.starts()) == 1


INTERRUPTED = (
    "def interrupt(*_): raise KeyboardInterrupt('terminated')\n"
    "signal.signal(signal.SIGTERM, interrupt)\n"
)
"""How vLLM reacts to SIGTERM until it listens."""


@pytest.mark.parametrize(
    ("before", "code"),
    [
        pytest.param(f"{INTERRUPTED}{STOP}; time.sleep(30)", 0, id="interrupted"),
        pytest.param(
            f"signal.signal(signal.SIGTERM, lambda *_: die(1, 'RuntimeError: x'))\n"
            f"{STOP}; time.sleep(30)",
            1,
            id="failed meanwhile",
        ),
    ],
)
def test_an_engine_that_is_stopped_while_it_loads_stays_down(
    before: str, code: int, gpu: FakeGpu
) -> None:
    """A second engine would remain on the GPU after the stop."""
    assert gpu.run(before=before) == code
    assert len(gpu.starts()) == 1


def test_what_does_not_fit_is_not_started(gpu: FakeGpu, capfd: pytest.CaptureFixture[str]) -> None:
    """The message says what would help."""
    assert gpu.run("--gpu-memory-utilization", "0.04") == 1
    assert gpu.starts() == []
    assert "the model does not fit NVIDIA L4: of 0.9 GiB" in capfd.readouterr().err


VALIDATION = [
    "(APIServer pid=1) pydantic_core._pydantic_core.ValidationError: 1 validation error for X",
    "(APIServer pid=1)   Value error, Invalid attention backend: 'FOO' [type=value_error]",
    "(APIServer pid=1)     For further information visit https://errors.pydantic.dev",
]
OUT_OF_MEMORY = [
    "ImportError: a warning of something that is not needed",
    "(Worker_TP0 pid=9) ERROR 11-30 11:40:00 [multiproc_executor.py:9] torch.OutOfMemoryError: "
    "CUDA out of memory. Tried to allocate 2.00 GiB",
    "(EngineCore pid=7) Exception: WorkerProc initialization failed due to an exception in a "
    "background process. See stack trace for root cause.",
]


@pytest.mark.parametrize(
    ("lines", "code", "reason", "mended"),
    [
        (CAPTURE, 1, REASON, True),
        (VALIDATION, 1, r"ValidationError: 1 validation error for X; Value error, Inv", False),
        (OUT_OF_MEMORY, 1, "OutOfMemoryError: CUDA out of memory. Tried", True),
        (["vllm serve: error: argument --port: invalid int value"], 2, "argument --port", False),
        (["loading", "Segmentation fault", ""], -11, "Segmentation fault", True),
        (["RuntimeError: The NVIDIA driver on your system is too old"], 1, "RuntimeE", False),
        (["FileNotFoundError: [Errno 2] No such file or directory: 'ninja'"], 1, "File", True),
        (["PermissionError: [Errno 13] Permission denied: '/usr/bin/gcc'"], 1, "Perm", True),
        (["ImportError: /c/flashinfer/x.so: cannot open shared object file"], 1, "Imp", True),
        (["ValueError: FlashInfer needs compute capability 8.0"], 1, "ValueE", True),
        (["FileNotFoundError: No such file or directory: '/models/access'"], 1, "File", False),
        (["ImportError: libcudart.so.13: cannot open shared object file"], 1, "Imp", False),
        ([*VALIDATION[:1], VALIDATION[1].replace("FOO", "TRITON")], 1, "Validation", False),
        (["vllm serve: error: invalid choice: 'triton'"], 2, "invalid choice", False),
        (["CRASH"], 1, "CRASH", True),
        (["(APIServer pid=1) INFO 11-30 11:40:00 [l.py:1] Avg", "INFO:     x"], 1, "unknown", True),
        (["(APIServer pid=1) INFO 11-30 11:40:00 [l.py:1] Avg"], -9, "killed by SIGKILL", True),
        ([], 137, "killed by SIGKILL", True),
        ([], -11, "killed by SIGSEGV", True),
    ],
)
def test_the_reason_is_found(lines: list[str], code: int, reason: str, mended: bool) -> None:
    """Of several processes, the one that failed is not the last to write to the log."""
    assert failure_reason(code, lines).startswith(reason)
    assert can_be_mended(code, lines) == mended
