"""How freed memory is dealt with on a CPU."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST_ON_HEAP = 32 << 20  # bytes; glibc takes no more
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have glibc keep what this process frees, for its next allocation.

    By default it gives the kernel back what a forward pass frees, and the next pass faults it in again, page by page:
    a tenth of the embedded model's step. What is freed in blocks above 32 MiB still goes back.

    Returns:
        Whether there was a glibc to ask.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(
        mallopt(name, value) for name, value in ((M_MMAP_THRESHOLD, LARGEST_ON_HEAP), (M_TRIM_THRESHOLD, NEVER))
    )
