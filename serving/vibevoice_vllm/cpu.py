"""What the settings leave open, for an engine on a CPU."""

import os
from typing import Any

from vibevoice_vllm.memory_plan import GIB, DoesNotFit
from vibevoice_vllm.model_sizes import ModelSizes
from vibevoice_vllm.settings import LONGEST_CONTEXT, LaunchSettings

_LARGE = 1_000_000_000
"""Parameters from which on float32 would be twice the memory and, as decoding reads all weights for
each token, half the speed."""
_CACHE_GIB = 2


def memory_of_machine() -> int:
    """Bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cpu_settings(sizes: ModelSizes, settings: LaunchSettings, memory: int | None) -> LaunchSettings:
    """The settings with dtype, context and cache filled in.

    Args:
        memory: bytes of the machine; None asks nothing of it.

    Raises:
        DoesNotFit: it has less than the model needs.
    """
    dtype = settings.dtype or ("bfloat16" if sizes.parameters > _LARGE else "float32")
    width = 4 if dtype == "float32" else 2
    context = settings.max_model_len or LONGEST_CONTEXT
    token = sizes.layers * sizes.key_values * width
    # a block more than one request of the longest context, as vLLM holds one back
    needed = -(-(max(0, context) + 128) * token // GIB)
    cache = settings.cpu_kvcache_gib or max(_CACHE_GIB, needed)
    weights = (sizes.linears + sizes.rest) * width + sizes.encoders * 4
    total = weights + cache * GIB
    if memory is not None and total > memory:
        raise DoesNotFit(
            f"this machine has {memory / GIB:.1f} GiB of memory, and the engine needs more than "
            f"{total / GIB:.1f}: {weights / GIB:.1f} for weights in {dtype}, {cache} for the cache "
            f"of {context} tokens, and some to work. What would help: a shorter --max-model-len, "
            "or a GPU."
        )
    chosen: dict[str, Any] = {"dtype": dtype, "max_model_len": context, "cpu_kvcache_gib": cache}
    return settings.model_copy(update=chosen)
