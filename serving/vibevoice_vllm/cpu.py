"""Fills in the settings that were left open, for an engine on a CPU."""

import os
from typing import Any

from vibevoice_vllm.memory_plan import GIB, DoesNotFit
from vibevoice_vllm.model_sizes import ModelSizes
from vibevoice_vllm.settings import LONGEST_CONTEXT, LaunchSettings

_LARGE = 1_000_000_000
"""Number of parameters from which bfloat16 is used: float32 would take twice the memory and decode
at half the speed, since decoding reads all weights for each token."""
_CACHE_GIB = 2


def memory_of_machine() -> int:
    """Total memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cpu_settings(sizes: ModelSizes, settings: LaunchSettings, memory: int | None) -> LaunchSettings:
    """Return the settings with dtype, context length, and cache size filled in.

    Args:
        memory: bytes of memory in the machine; None skips the check.

    Raises:
        DoesNotFit: the model needs more memory than that.
    """
    dtype = settings.dtype or ("bfloat16" if sizes.parameters > _LARGE else "float32")
    width = 4 if dtype == "float32" else 2
    context = settings.max_model_len or LONGEST_CONTEXT
    token = sizes.layers * sizes.key_values * width
    # one block more than the longest request needs, since vLLM reserves one
    needed = -(-(max(0, context) + 128) * token // GIB)
    cache = settings.cpu_kvcache_gib or max(_CACHE_GIB, needed)
    weights = (sizes.linears + sizes.rest) * width + sizes.encoders * 4
    total = weights + cache * GIB
    if memory is not None and total > memory:
        raise DoesNotFit(
            f"this machine has {memory / GIB:.1f} GiB of memory, but the engine needs more than "
            f"{total / GIB:.1f} GiB: {weights / GIB:.1f} for weights in {dtype}, {cache} for the "
            f"cache of {context} tokens, plus working memory. Use a shorter --max-model-len "
            "or a GPU."
        )
    chosen: dict[str, Any] = {"dtype": dtype, "max_model_len": context, "cpu_kvcache_gib": cache}
    return settings.model_copy(update=chosen)
