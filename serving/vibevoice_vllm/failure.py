"""Why an engine died, read from its log."""

import re
from collections.abc import Sequence
from itertools import takewhile

_PREFIX = r"^(?:\([\w.: =-]+\) )?(?:(?:ERROR|CRITICAL) [\d:. -]+ \[[\w.:/-]+\] )?"
"""What vLLM writes before a line: the process, and the time and place of a log record."""
_EXCEPTION = re.compile(_PREFIX + r"((?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit)): ?(.*)$")
_USAGE = re.compile(r"^(?:[\w./-]+ )*[\w./-]+: error: (.*)$")
_FOLLOWS = (
    "Engine core initialization failed",
    "WorkerProc initialization failed",
    "Engine process failed to start",
    "EngineDeadError",
    "CancelledError",
)
"""What other processes say of a failure that is not theirs."""
_BEYOND_MENDING = re.compile(
    r"validation error|unrecognized argument|invalid choice|expected one argument|argument --|"
    r"SafetensorError|Cannot find any model weights|driver on your system is too old|"
    r"no NVIDIA driver|No CUDA GPUs|no CUDA-capable device|Free memory on device|"
    r"Address already in use|quantization method|Invalid logits|LogitsProcessor|logits processor"
)
"""A setting that is refused, weights or a driver that are missing, a card that others use: no other
set of defaults changes that."""
_MISSING = re.compile(
    r"No such file|FileNotFoundError|ModuleNotFoundError|No module named|ImportError|"
    r"compute capability|PermissionError|Permission denied"
)
"""The same of the model or of vLLM itself, but not of a kernel."""
_KERNELS = re.compile(
    r"ninja|nvcc|ptxas|flashinfer|flash_attn|triton|inductor|\bg?cc\b", re.IGNORECASE
)
"""What the fast defaults build while they start, and with which tools; the conservative set needs
less of it."""


def failure_reason(lines: Sequence[str]) -> str:
    """The error that a log ends with, of the process that failed first; in one line."""
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
    return reason or next((line.strip() for line in reversed(lines) if line.strip()), "unknown")


def can_be_mended(code: int, lines: Sequence[str]) -> bool:
    """Whether a slower and simpler way to run may start where this one died.

    Args:
        code: the exit code; 2 is vLLM's for arguments that it does not know.
    """
    reason = failure_reason(lines)
    if code == 2 or _BEYOND_MENDING.search(reason):
        return False
    return not _MISSING.search(reason) or bool(_KERNELS.search(reason))
