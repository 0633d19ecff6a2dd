"""Makes glibc return freed memory to the system."""

import ctypes

M_MMAP_THRESHOLD = -3
"""From glibc's malloc.h."""
LARGE_BYTES = 256 * 1024
"""Buffers of FFmpeg's decoders and of request bodies are larger than this; allocations per packet
or event are smaller."""


def return_large_blocks() -> None:
    """Make malloc allocate blocks above LARGE_BYTES from the system and return them when freed.

    By default, glibc raises that threshold, up to 32 MiB, when a large block is first freed. From
    then on, each thread's arena keeps the memory of anything decoded in it: 26 MiB per thread for a
    hostile AAC stream. Does nothing with other C libraries, which have no such threshold.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # not glibc
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
