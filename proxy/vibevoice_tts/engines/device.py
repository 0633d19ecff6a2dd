"""Selects a model's device and uploads tensors to it."""

import logging

import torch

from vibevoice_tts.models import ModelConfig, ModelUnusable

HALF_CAPABILITY = (8, 0)
"""Lowest compute capability with bfloat16 support: Ampere."""
DRIVERS = {"12": 525, "13": 580}
"""CUDA major version → oldest NVIDIA driver that supports it (CUDA Compatibility, table 2)."""

logger = logging.getLogger(__name__)


class DeviceUnavailable(ModelUnusable):
    """The requested device cannot be used; the message says what it needs."""


def choose_device(config: ModelConfig) -> tuple[torch.device, torch.dtype]:
    """Choose and log the device and dtype for a model: those in `config`, or else the best device
    available, with bfloat16 on a GPU that supports it and float32 elsewhere.

    Raises:
        DeviceUnavailable: the device does not exist, or its driver is too old.
    """
    name = config.device
    if not name:
        best = torch.accelerator.current_accelerator(check_available=True)
        name = best.type if best is not None else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceUnavailable(f"{name!r} is not a valid device.") from error
    if device.type == "cuda":
        _check_cuda(device)
    if config.dtype == "auto":
        dtype = torch.bfloat16 if _computes_in_half(device) else torch.float32
    else:
        dtype = getattr(torch, config.dtype)
    logger.info("%s runs on %s in %s", config.card.name, _describe(device), str(dtype)[6:])
    return device, dtype


def upload(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a host tensor to a device without waiting for the device."""
    if device.type == "cuda":
        # A copy from pageable memory would wait for all work in flight.
        values = values.pin_memory()
    # mps may read the host memory after this call has returned and the memory has been freed.
    return values.to(device, non_blocking=device.type != "mps")


def _computes_in_half(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= HALF_CAPABILITY


def _check_cuda(device: torch.device) -> None:
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # AssertionError if torch is built without CUDA
        raise DeviceUnavailable(_explain(str(error))) from error
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise DeviceUnavailable(f"{device} does not exist; GPUs on this machine: {count}.")


def _explain(cause: str) -> str:
    """A message on why CUDA cannot be used, what it needs, and how to run without it."""
    version = torch.version.cuda
    if version is None:
        needed = "This torch is built without CUDA"
    else:
        driver = DRIVERS.get(version.partition(".")[0])
        needed = f"CUDA {version} needs an NVIDIA driver"
        needed += f" of version {driver} or newer" if driver else " for it"
    reason = cause.partition(". ")[0].strip().rstrip(".")
    return f"{needed} ({reason}). VIBEVOICE_TTS_DEVICE=cpu runs without a GPU, but slowly."


def _describe(device: torch.device) -> str:
    if device.type != "cuda":
        return str(device)
    return f"{device} ({torch.cuda.get_device_name(device)})"
