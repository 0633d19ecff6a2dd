"""Where a model runs, and how numbers of the host get there."""

import logging

import torch

from vibevoice_tts.models import ModelConfig, ModelUnusable

HALF_CAPABILITY = (8, 0)
"""Compute capability from which a GPU computes in bfloat16: Ampere."""
DRIVERS = {"12": 525, "13": 580}
"""Major version of CUDA → oldest NVIDIA driver that runs it (CUDA Compatibility, table 2)."""

logger = logging.getLogger(__name__)


class DeviceUnavailable(ModelUnusable):
    """The device that was asked for cannot be used; the message says what it needs."""


def choose_device(config: ModelConfig) -> tuple[torch.device, torch.dtype]:
    """Where and in which type a model runs, which is logged: as `config` says, else on the best
    device available, in bfloat16 on a GPU that computes in it and in float32 elsewhere.

    Raises:
        DeviceUnavailable: there is no such device, or its driver is too old.
    """
    name = config.device
    if not name:
        best = torch.accelerator.current_accelerator(check_available=True)
        name = best.type if best is not None else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceUnavailable(f"{name!r} is not a device.") from error
    if device.type == "cuda":
        _check_cuda(device)
    if config.dtype == "auto":
        dtype = torch.bfloat16 if _computes_in_half(device) else torch.float32
    else:
        dtype = getattr(torch, config.dtype)
    logger.info("%s runs on %s in %s", config.card.name, _describe(device), str(dtype)[6:])
    return device, dtype


def upload(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the host on a device; the host does not wait for what the device does."""
    if device.type == "cuda":
        # from memory that may be paged out the host would wait for all work in flight
        values = values.pin_memory()
    # mps may read the host's memory after this has returned and the memory has been freed
    return values.to(device, non_blocking=device.type != "mps")


def _computes_in_half(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= HALF_CAPABILITY


def _check_cuda(device: torch.device) -> None:
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # the second where torch is built without CUDA
        raise DeviceUnavailable(_explain(str(error))) from error
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise DeviceUnavailable(f"There is no {device}; there are {count} GPUs.")


def _explain(cause: str) -> str:
    """Why CUDA cannot be used, what it needs, and what to do without it."""
    version = torch.version.cuda
    if version is None:
        needed = "This torch is built without CUDA"
    else:
        driver = DRIVERS.get(version.partition(".")[0])
        needed = f"CUDA {version} needs an NVIDIA driver"
        needed += f" of version {driver} or newer" if driver else " for it"
    reason = cause.partition(". ")[0].strip().rstrip(".")
    return f"{needed} ({reason}). VIBEVOICE_TTS_DEVICE=cpu speaks without a GPU, slowly."


def _describe(device: torch.device) -> str:
    if device.type != "cuda":
        return str(device)
    return f"{device} ({torch.cuda.get_device_name(device)})"
