"""Memory is returned to the system after a request."""

import gc
import io
import platform
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from av.container import InputContainer
from numpy.typing import NDArray
from tests.support.recordings import tone, wav

from vibevoice_proxy.decoder import AudioDecoder
from vibevoice_proxy.errors import InvalidAudio, StorageFull

HEAP = """
import ctypes
from vibevoice_proxy.allocator import return_large_blocks
return_large_blocks()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd".split()]
    _fields_ += [(f"more{number}", ctypes.c_size_t) for number in range(5)]
libc.mallinfo2.restype = Info
libc.free(libc.malloc(20 << 20))
before = libc.mallinfo2().hblks
block = libc.malloc(1 << 20)
print(libc.mallinfo2().hblks - before)
"""


async def test_a_failed_decoding_leaves_no_decoder() -> None:
    """FFmpeg's memory is freed as soon as the error is raised, not only by the garbage collector,
    although anyio's future and the error reference each other."""
    decoder = AudioDecoder(1, timeout=20)
    speech = tone(2)
    broken = speech * np.float32("nan")

    def fail(blocks: Iterator[NDArray[np.int16]]) -> None:
        next(blocks)
        raise StorageFull

    gc.collect()
    gc.disable()
    before = containers()
    try:
        with pytest.raises(StorageFull):
            await decoder.run(io.BytesIO(wav(speech)), 60, fail)
        with pytest.raises(InvalidAudio):
            await decoder.run(io.BytesIO(wav(broken, subtype="FLOAT")), 60, list)
        assert containers() <= before
    finally:
        gc.enable()


def containers() -> set[int]:
    """The containers in this process; other tests may have left some."""
    # `isinstance` would read `__class__` of other libraries' objects, and some of them warn
    return {id(thing) for thing in gc.get_objects() if type(thing) is InputContainer}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no limit")
def test_large_blocks_are_returned() -> None:
    """A block of 1 MiB is mapped, so it is returned, even after a larger one has been freed."""
    done = subprocess.run([sys.executable, "-c", HEAP], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
