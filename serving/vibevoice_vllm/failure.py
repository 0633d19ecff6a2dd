"""Finds out from the engine's log why it failed."""

import re
import signal
from collections.abc import Sequence
from itertools import takewhile

_PREFIX = r"^(?:\([\w.: =-]+\) )?(?:(?:ERROR|CRITICAL) [\d:. -]+ \[[\w.:/-]+\] )?"
"""What vLLM prints before a line: the process, then the time and source of the log record."""
_EXCEPTION = re.compile(_PREFIX + r"((?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit)): ?(.*)$")
_USAGE = re.compile(r"^(?:[\w./-]+ )*[\w./-]+: error: (.*)$")
_NO_ERROR = re.compile(r"^(?:\([\w.: =-]+\) )?(?:DEBUG|INFO|WARNING)\b")
"""Log records of vLLM and uvicorn that are not errors."""
_FOLLOWS = (
    "Engine core initialization failed",
    "WorkerProc initialization failed",
    "Engine process failed to start",
    "EngineDeadError",
    "CancelledError",
)
"""Messages with which other processes report a failure that is not their own."""
_BEYOND_MENDING = re.compile(
    r"validation error|unrecognized argument|invalid choice|expected one argument|argument --|"
    r"SafetensorError|Cannot find any model weights|driver on your system is too old|"
    r"no NVIDIA driver|No CUDA GPUs|no CUDA-capable device|Free memory on device|"
    r"Address already in use|quantization method|Invalid logits|LogitsProcessor|logits processor"
)
"""Errors that no other set of defaults can fix: a rejected setting, missing weights or driver, or
GPU memory in use by other programs."""
_MISSING = re.compile(
    r"No such file|FileNotFoundError|ModuleNotFoundError|No module named|ImportError|"
    r"compute capability|PermissionError|Permission denied"
)
"""More such errors, but only if they come from the model or vLLM itself and not from a kernel."""
_KERNELS = re.compile(
    r"ninja|nvcc|ptxas|flashinfer|flash_attn|triton|inductor|\bg?cc\b", re.IGNORECASE
)
"""What the fast defaults compile at startup, and the tools they use. The conservative set compiles
less."""


def signal_name(code: int) -> str:
    """The signal that killed a process with this exit code; empty if it exited by itself."""
    number = -code if code < 0 else code - 128  # a shell reports 128 + the signal
    return signal.Signals(number).name if number in set(signal.Signals) else ""


def failure_reason(code: int, lines: Sequence[str]) -> str:
    """The final error of the process that failed first, on one line.

    Args:
        code: the exit code of the process that answers requests.
    """
    killed = signal_name(code)
    if killed == "SIGKILL":
        return "killed by SIGKILL, perhaps because the machine ran out of memory"
    usage = [found[1] for line in lines if (found := _USAGE.match(line))]
    if usage:
        return usage[-1]
    reason = ""
    for at, line in enumerate(lines):
        found = _EXCEPTION.match(line)
        if not found or any(text in line for text in _FOLLOWS):
            continue
        reason = f"{found[1].rpartition('.')[2]}: {found[2]}".rstrip(": ")
        if "validation error" in found[2]:
            first = takewhile(lambda text: "For further" not in text, lines[at + 1 : at + 4])
            reason += "; " + " ".join(re.sub(_PREFIX, "", text).strip() for text in first)
    if reason:
        return reason
    others = (line.strip() for line in reversed(lines) if not _NO_ERROR.match(line))
    return next(filter(None, others), f"killed by {killed}" if killed else "unknown")


def can_be_mended(code: int, lines: Sequence[str]) -> bool:
    """Whether the conservative defaults might start where this attempt failed.

    Args:
        code: the exit code; vLLM exits with 2 for unknown arguments.
    """
    reason = failure_reason(code, lines)
    if code == 2 or _BEYOND_MENDING.search(reason):
        return False
    return not _MISSING.search(reason) or bool(_KERNELS.search(reason))
