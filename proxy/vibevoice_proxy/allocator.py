"""Memory that glibc returns to the system."""

import ctypes

M_MMAP_THRESHOLD = -3
"""From glibc's malloc.h."""
LARGE_BYTES = 256 * 1024
"""What FFmpeg's decoders and request bodies take in one piece is larger, what is allocated per
packet or event is smaller."""


def return_large_blocks() -> None:
    """Makes malloc take blocks above LARGE_BYTES from the system and return them when freed.

    By default glibc raises that limit up to 32 MiB, the first time that a large block is freed.
    From then on each thread's arena keeps what was once decoded in it: with a hostile AAC stream
    26 MiB per thread. Other C libraries have no such limit and are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # not glibc
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
