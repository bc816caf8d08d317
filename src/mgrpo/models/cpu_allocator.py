"""What the C library does with freed memory."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST_ON_HEAP = 32 << 20  # bytes; glibc accepts no more
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have glibc keep what this process frees, for its next allocation.

    By default glibc returns to the kernel what a forward pass frees, and the next pass faults it in again, page by
    page: a tenth of the embedded model's step. Blocks above 32 MiB are still returned. Returns whether glibc agreed.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(
        mallopt(name, value) for name, value in ((M_MMAP_THRESHOLD, LARGEST_ON_HEAP), (M_TRIM_THRESHOLD, NEVER))
    )
