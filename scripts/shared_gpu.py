"""Computes the GPU memory that the engine reserves for the speech models if both start together."""

from collections.abc import Mapping
from pathlib import Path

from vibevoice_tts import choose_models
from vibevoice_vllm.gpu import find_device

VARIABLE = "VIBEVOICE_GPU_MEMORY_RESERVED"
SPEECH_GIB = {"0.5b": 5, "1.5b": 8}
"""GiB for weights, four requests, and CUDA, by TTS_MODEL_TYPE (docs/guides/gpu.md)."""


def reserved_gib(environ: Mapping[str, str]) -> int:
    """GiB for the speech models that the proxy would load on the engine's GPU.

    Raises:
        ValueError: TTS_MODEL_TYPE is not a known model, or the model is not in MODEL_DIR.
    """
    model_dir = Path(environ.get("MODEL_DIR", ""))
    folder = model_dir if environ.get("MODEL_DIR") and model_dir.is_dir() else None
    cards = choose_models(environ.get("TTS_MODEL_TYPE") or "auto", folder)
    return sum(SPEECH_GIB.get(card.setting, 0) for card in cards)


def with_reserve(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` with the engine's reserve added, unless it is set or speech runs elsewhere.

    Raises:
        GpuError: nvidia-smi hangs.
        ValueError: see `reserved_gib`.
    """
    elsewhere = environ.get("VIBEVOICE_TTS_DEVICE", "") not in ("", "cuda", "cuda:0")
    asked = environ.get("VIBEVOICE_DEVICE") or "auto"
    if environ.get(VARIABLE) or elsewhere or asked == "cpu" or find_device("auto") == "cpu":
        return dict(environ)
    reserved = reserved_gib(environ)
    return {**environ, VARIABLE: str(reserved)} if reserved else dict(environ)
